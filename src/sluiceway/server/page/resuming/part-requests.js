// The requests of one part of a large file: it is made, asked for its offset, and sent. Throws when
// it breaks; who calls decides what follows.

import { snapshotOf } from "../uploads/progress.js";
import { findOffset, NoResponse } from "./protocol.js";
import { appendPart, createPart, TUS } from "./tus-parts.js";
import { guard } from "./waiting.js";

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
   * @param {() => void} report something is kept
   * @param {() => void} save a part was made
   */
  constructor(sender, report, save) {
    this.sender = sender;
    this.report = report;
    this.save = save;
  }

  /**
   * Bytes that reached the server.
   * @param {Part[]} list
   * @param {string} status where the server tells about the beginning
   */
  async arrived(list, status) {
    const asked = [status];
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
    if (!part.url) await this.#create(part, signal);
    if (!isWhole(part)) await this.#append(part, signal);
    this.report();
  }

  /**
   * @param {Part} part
   * @param {AbortSignal} signal
   */
  async #create(part, signal) {
    const { endpoint, file, path, headers } = this.sender;
    const piece = file.slice(part.start, part.stop, file.type);
    const reply = await createPart(endpoint, piece, path, headers(), signal);
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
    const reply = await findOffset(part.url, { ...this.sender.headers(), ...TUS }, signal);
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
    const request = new AbortController();
    const onStop = () => request.abort();
    signal.addEventListener("abort", onStop);
    if (signal.aborted) onStop();
    let [movedAt, most] = [Date.now(), 0];
    const unguard = guard(STILL_MS, () => movedAt, onStop);
    part.stale = true;
    this.#sent.add(part);
    this.#poll();
    try {
      const reply = await appendPart(part.url, part.kept, headers(), {
        body: file.slice(part.start + part.kept, part.stop),
        signal: request.signal,
        left: (loaded) => {
          // As for the beginning: what a browser sends once more by itself is wrong by now.
          if (loaded < most) request.abort();
          [movedAt, most] = [Date.now(), loaded];
        },
        all: () => {
          movedAt = Infinity;
        },
      });
      if (isGone(reply)) [part.url, part.kept] = ["", 0];
      else if (reply.status > 299 || reply.offset === null) throw new PartRefused(reply);
      [part.kept, part.stale] = [reply.offset ?? 0, false];
      if (!isWhole(part)) throw new NoResponse();
    } finally {
      this.#sent.delete(part);
      unguard();
      signal.removeEventListener("abort", onStop);
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

/** @param {Part} part */
export function isWhole({ start, stop, kept }) {
  return kept === stop - start;
}

/** @param {Reply} reply */
function isGone({ status }) {
  return status === 404 || status === 410;
}

/** @param {Part} part */
export function idOf({ url }) {
  return url.split("/").at(-1) ?? "";
}
