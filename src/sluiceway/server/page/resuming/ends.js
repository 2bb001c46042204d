// Why nothing more is sent: for now, or for good. Some are for who shows the upload, some are for
// the sending alone.

/** @typedef {import("../uploads/response.js").Answer} Answer */

/** The server says again and again that it cannot now. */
export class Busy extends Error {}

/** The file cannot be read any more. */
export class FileGone extends Error {}

/** Another tab goes on with it. */
export class GoesOnElsewhere extends Error {}

/** The place takes whole files only, whatever it said before. */
export class NotOffered extends Error {}

/** It was stopped from outside. */
export class Stopped extends Error {}

/** The server's last word on this file. */
export class Final extends Error {
  /** @param {Answer} answer */
  constructor(answer) {
    super();
    this.answer = answer;
  }
}

/** Passes by itself: a new attempt follows. */
export class Interruption extends Error {
  /**
   * @param {boolean} [busy] the server itself said so
   * @param {number | null} [retryAfter] seconds
   * @param {boolean} [backend] the server has all, and its destination does not answer now
   */
  constructor(busy = false, retryAfter = null, backend = false) {
    super();
    this.busy = busy;
    this.backend = backend;
    this.retryAfter = retryAfter;
  }
}
