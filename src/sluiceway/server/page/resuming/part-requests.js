// The requests of one part of a large file: it is made, asked for its offset, and sent. Throws when
// it breaks; who calls decides what follows. Each request has an end, also on a dead line.

import { snapshotOf } from "../uploads/progress.js";
import { GuardedRequest } from "./guarded-request.js";
import { findOffset, NoResponse } from "./protocol.js";
import { appendPart, createPart, TUS } from "./tus-parts.js";
import { PASSING } from "./waiting.js";

/** @typedef {import("./protocol.js").Reply} Reply */
/** @typedef {import("./sending.js").Sender} Sender */

/**
 * @typedef {object} Part
 * @property {string} url "" until it is made
 * @property {number} start offset in the file
 * @property {number} stop
 * @property {number} kept bytes that the server keeps
 * @property {boolean} stale whether the server has to be asked for that
 */

/** The server does not take a part. */
export class PartRefused extends Error {
  /** @param {Reply} reply */
  constructor(reply) {
    super();
    this.reply = reply;
    this.passes = PASSING.has(reply.status);
  }
}

const POLL_MS = 1000;
const STILL_MS = 10_000;

export class PartRequests {
  /** Those that a request sends now. @type {Set<Part>} */
  #sent = new Set();
  #polls = false;

  /**
   * @param {Sender} sender
   * @param {string} whole the id of the upload that these are parts of
   * @param {() => void} report something is kept
   * @param {() => void} save a part was made
   */
  constructor(sender, whole, report, save) {
    this.sender = sender;
    this.whole = whole;
    this.report = report;
    this.save = save;
  }

  /**
   * Bytes that reached the server, of the beginning and of the parts.
   * @param {Part[]} list
   */
  async arrived(list) {
    const asked = [this.sender.status(this.whole)];
    let sum = 0;
    for (const part of list) {
      if (part.url && !isWhole(part)) asked.push(this.#status(part));
      else sum += part.kept;
    }
    const found = await Promise.all(asked.map((url) => this.#snapshot(url)));
    return found.reduce((all, one) => all + Math.max(one?.received ?? 0, one?.kept ?? 0), sum);
  }

  /**
   * @param {Part} part
   * @param {AbortSignal} signal
   */
  async send(part, signal) {
    if (part.url && part.stale) await this.find(part, signal);
    if (!part.url) await this.#create(part);
    if (!isWhole(part)) await this.#append(part, signal);
    this.report();
  }

  /**
   * It is not stopped from outside: the server would keep a part of which nobody knows.
   * @param {Part} part
   */
  async #create(part) {
    const { endpoint, headers } = this.sender;
    const size = part.stop - part.start;
    const reply = await brief((signal) => (
      createPart(endpoint, this.whole, size, headers(), signal)
    ));
    const mine = reply.location && new URL(reply.location).origin === new URL(endpoint).origin;
    if (reply.status > 299 || !mine) throw new PartRefused(reply);
    [part.url, part.kept, part.stale] = [reply.location, 0, false];
    this.save();
  }

  /**
   * @param {Part} part
   * @param {AbortSignal} signal
   */
  async find(part, signal) {
    const headers = { ...this.sender.headers(), ...TUS };
    const reply = await brief((end) => findOffset(part.url, headers, end), signal);
    if (isGone(reply)) part.url = "";
    else if (reply.status > 299 || reply.offset === null) throw new PartRefused(reply);
    [part.kept, part.stale] = [reply.offset ?? 0, false];
  }

  /**
   * @param {Part} part
   * @param {AbortSignal} signal
   */
  async #append(part, signal) {
    const { file, headers } = this.sender;
    const request = new GuardedRequest(signal, STILL_MS);
    part.stale = true;
    this.#sent.add(part);
    this.#poll();
    try {
      const reply = await appendPart(part.url, part.kept, headers(), {
        body: file.slice(part.start + part.kept, part.stop),
        signal: request.signal,
        left: (loaded) => request.left(loaded),
        all: () => request.allLeft(),
      });
      if (isGone(reply)) [part.url, part.kept] = ["", 0];
      else if (reply.status > 299 || reply.offset === null) throw new PartRefused(reply);
      [part.kept, part.stale] = [reply.offset ?? 0, false];
      if (!isWhole(part)) throw new NoResponse();
    } finally {
      this.#sent.delete(part);
      request.abort();
    }
  }

  /* ---- how far ---- */

  /** To watch each would take a connection more for each: they are asked in turn. */
  async #poll() {
    if (this.#polls) return;
    this.#polls = true;
    while (this.#sent.size > 0) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      for (const part of this.#sent) {
        const found = await this.#snapshot(this.#status(part));
        const kept = Math.min(part.stop - part.start, found?.kept ?? 0);
        if (this.#sent.has(part)) part.kept = Math.max(part.kept, kept);
      }
      this.report();
    }
    this.#polls = false;
  }

  /** @param {Part} part */
  #status(part) {
    return this.sender.status(idOf(part));
  }

  /** @param {string} url */
  #snapshot(url) {
    return snapshotOf(url, this.sender.headers()).catch(() => null);
  }
}

/**
 * A request without bytes: it has its response soon, or its connection is dead.
 * @param {(signal: AbortSignal) => Promise<Reply>} send
 * @param {AbortSignal} [stop]
 */
async function brief(send, stop) {
  const request = new GuardedRequest(stop, STILL_MS);
  try {
    return await send(request.signal);
  } finally {
    request.abort();
  }
}

/** @param {Part} part */
export function isWhole({ start, stop, kept }) {
  return kept === stop - start;
}

/** @param {Reply} reply */
function isGone({ status }) {
  return status === 404 || status === 410;
}

/** @param {{ url: string }} upload */
export function idOf({ url }) {
  return url.split("/").at(-1) ?? "";
}
