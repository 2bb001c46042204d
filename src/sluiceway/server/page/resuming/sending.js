// Sends one large file over any number of connections, until the server has all of it or refuses.
// After a break it asks how much is kept and goes on there. Draws nothing.

import { bookmarksOf, forgetBookmark, keepBookmark } from "./bookmarks.js";
import {
  Busy, FileGone, Final, GoesOnElsewhere, Interruption, NotOffered, Stopped,
} from "./ends.js";
import { GuardedRequest } from "./guarded-request.js";
import { idOf, PartRefused } from "./part-requests.js";
import { Parts } from "./parts.js";
import {
  append, createUpload, endUpload, findOffset, limitsOf, NoResponse, partsHeader,
} from "./protocol.js";
import { claim, hold, isStillHeld, release } from "./tabs.js";
import { delayOf, PASSING, untilThen } from "./waiting.js";

/** @typedef {import("./protocol.js").Reply} Reply */
/** @typedef {import("../uploads/response.js").Answer} Answer */

/**
 * @typedef {object} Break why nothing is sent now
 * @property {"offline" | "broken" | "busy" | "backend"} why
 * @property {number} until performance.now() of the next attempt
 *
 * @typedef {object} Sender what is told about it
 * @property {File} file
 * @property {string} path
 * @property {string} endpoint an absolute URL
 * @property {[string, string][]} fields of a form, before the file
 * @property {string} fileField of a form
 * @property {string} conflict what was decided about a name that is taken, or ""
 * @property {() => Record<string, string>} headers
 * @property {() => Promise<boolean>} readable whether the file can still be read
 * @property {() => number} movedAt Date.now() of the server's last report that something moved
 * @property {(id: string) => string} status where the server tells about an upload
 * @property {number} connections for one large file; 0: as many as are faster
 * @property {() => boolean} alone whether no other file is sent now, nor waits for that
 * @property {(id: string, offset: number, signal: AbortSignal, goesOn?: boolean) => void} begins
 *   a request sends bytes from that offset on, which the server keeps; another one ended just now
 * @property {(kept: number) => void} beside bytes that the server keeps in parts behind that
 * @property {() => void} frees a connection is not needed any more
 * @property {(sent: number, overhead: number) => void} left bytes that left the browser: of the
 *   file up to where it is, and what the body has beside it
 * @property {() => void} all all of them did
 * @property {(pause: Break) => void} breaks
 */

// Nothing left the browser and nothing arrived for so long: a new connection is tried, after each
// failure later. While they wait to send more, browsers look at no answer, nor at the end of a
// connection.
const STILL_MS = 10_000;
const SAVE_MS = 2000;
// So many refusals in a row that may pass, with nothing kept between them: a person has to look.
const MOST_BUSY = 12;

export class ResumableSending {
  #url = "";
  /** Bytes that the server keeps, as it said last. */
  #offset = 0;
  /** Whether the server has to be asked for the offset first. */
  #stale = false;
  /** Seconds that the server keeps it; null: it did not say. @type {number | null} */
  #age = null;
  #savedAt = Date.now();
  /** What is sent beside the beginning. @type {Parts | null} */
  #parts = null;
  #failures = 0;
  #stop = new AbortController();

  /** @param {Sender} sender */
  constructor(sender) {
    this.sender = sender;
  }

  /** Whether the place is known to keep pieces, and to join parts. */
  begun = false;
  #joins = false;

  /** Connections that send bytes now. */
  get connections() {
    return this.#parts?.connections ?? 1;
  }

  /**
   * Resolves with the server's answer to the whole file, of whatever kind.
   * @returns {Promise<Answer | null>} null: it is stored, and the answer was lost
   * @throws {Busy | FileGone | GoesOnElsewhere | NotOffered}
   */
  async run() {
    try {
      await this.#checkPlace();
      await this.#takeUp();
      for (;;) {
        try {
          return await this.#attempt();
        } catch (caught) {
          const error = caught instanceof PartRefused ? this.#failureOf(caught.reply) : caught;
          if (error instanceof Final) return error.answer;
          await this.#afterBreak(error);
        }
      }
    } finally {
      this.#parts?.hold();
      release(this.#url);
    }
  }

  /** Send no more. What the server keeps stays there, and the bookmark here. */
  stop() {
    this.#stop.abort();
    this.#parts?.hold();
  }

  /**
   * The server has reported how much it keeps: a page that ends now shows that in its next life.
   * @param {number} offset
   */
  noteKept(offset) {
    if (!this.#url || offset <= this.#offset || Date.now() - this.#savedAt < SAVE_MS) return;
    this.#save(offset);
  }

  /** Stop, and have the server forget it. */
  async end() {
    this.stop();
    await this.#takeUp();
    if (!this.#url) return;
    const url = this.#url;
    this.#forget();
    await endUpload(url, this.sender.headers());
  }

  /** @param {import("./part-requests.js").Part[]} [list] those of an earlier page */
  #takeParts(list = []) {
    if (!this.#joins) return;
    const stale = list.map((part) => ({ ...part, kept: 0, stale: true }));
    this.#parts = new Parts(this.sender, idOf(this), stale, () => this.#save(this.#offset));
  }

  /** Another origin that allows a form and no question has no response to the question either. */
  async #checkPlace() {
    const { endpoint, file, headers } = this.sender;
    const limits = await limitsOf(endpoint, headers()).catch(() => null);
    if (!limits || limits.minSize > file.size) throw new NotOffered();
    this.begun = true;
    this.#joins = limits.joins;
  }

  /** Go on with what an earlier page began, unless another tab does. */
  async #takeUp() {
    const { endpoint, path, file } = this.sender;
    for (const { url, offset, parts } of this.#url ? [] : bookmarksOf(endpoint, path, file)) {
      if (!(await claim(url))) continue;
      [this.#url, this.#offset, this.#stale] = [url, offset, true];
      this.#takeParts(parts);
      return;
    }
  }

  /** One way through all steps that are left. */
  async #attempt() {
    if (this.#stop.signal.aborted) throw new Stopped();
    const known = this.#url && this.#stale ? await this.#find() : null;
    if (!this.#url) await this.#create();
    const { size } = this.sender.file;
    const parts = this.#parts;
    if (known?.complete) return this.#append(size, size, { isKnown: true });
    if (!parts) return this.#append(this.#offset, size);
    await parts.find(this.#stop.signal);
    for (let goesOn = false; ; goesOn = true) {
      const stop = parts.begin(this.#offset);
      if (stop === size) return this.#append(this.#offset, size, { goesOn });
      if (this.#offset < stop) await this.#append(this.#offset, stop, { goesOn });
      if (this.#offset < parts.start) continue;
      await parts.finish(this.#stop.signal);
      if (this.#offset < parts.start) continue;
      return this.#append(this.#offset, size, { goesOn, parts: parts.ids });
    }
  }

  /** Of the upload, "" while there is none. */
  get url() {
    return this.#url;
  }

  async #create() {
    const { endpoint, file, path, conflict, headers } = this.sender;
    const place = new URL(endpoint);
    if (conflict) place.searchParams.set("conflict", conflict);
    const reply = await createUpload(place.href, file, path, headers(), this.#stop.signal);
    // A token is for the origin that the page was given, and for no other.
    const mine = reply.location && new URL(reply.location).origin === place.origin;
    if (reply.status > 299) throw this.#failureOf(reply);
    if (!mine) throw new NotOffered();
    [this.#url, this.#offset, this.#stale] = [reply.location, 0, false];
    hold(this.#url);
    this.sender.beside(0);
    this.#takeParts();
    this.#keep(0, reply.age);
  }

  /** @returns {Promise<Reply | null>} null: the server does not know it any more */
  async #find() {
    if (!(await isStillHeld(this.#url))) throw new GoesOnElsewhere();
    const reply = await findOffset(this.#url, this.sender.headers(), this.#stop.signal);
    if (reply.status === 404 || reply.status === 410) {
      this.#forget();
      return null;
    }
    if (reply.status > 299 || reply.offset === null) throw this.#failureOf(reply);
    if (reply.offset > this.#offset) this.#failures = 0;
    this.#stale = false;
    this.#keep(reply.offset, reply.age);
    return reply;
  }

  /**
   * Send bytes of the file; the last request of all gets the server's answer to it.
   * @param {number} from
   * @param {number} stop
   * @param {{ parts?: string[], isKnown?: boolean, goesOn?: boolean }} [rest] uploads that have
   *   these bytes already; the server has said that it has all, and is asked for its answer once
   *   more; a request before this one has ended well
   */
  async #append(from, stop, { parts = [], isKnown = false, goesOn = false } = {}) {
    const { file, headers, begins, left, all, movedAt } = this.sender;
    const [isLast, body] = [stop === file.size, file.slice(from, parts.length ? from : stop)];
    const stillMs = STILL_MS * 2 ** Math.min(this.#failures, 4);
    const request = new GuardedRequest(this.#stop.signal, stillMs, movedAt);
    begins(idOf(this), from, request.signal, goesOn);
    this.#stale = true;
    const onAll = () => {
      request.allLeft();
      if (isLast) all();
    };
    if (body.size === 0) onAll();
    try {
      const reply = await append(this.#url, from, isLast, { ...headers(), ...partsHeader(parts) }, {
        body,
        signal: request.signal,
        left: (loaded) => {
          request.left(loaded);
          left(from + loaded, 0);
        },
        all: onAll,
      });
      const isAnswer = reply.status < 300 || reply.complete;
      if (isKnown && !isAnswer) return this.#done(null);
      if (!isLast && reply.status < 300 && reply.offset === stop) return this.#piece(reply);
      if (parts.length && reply.status === 400) throw this.#doubt();
      if (reply.status > 299 || reply.complete === false) throw this.#failureOf(reply);
      return this.#done(reply.answer);
    } finally {
      request.abort();
    }
  }

  /**
   * It is kept, and more follows.
   * @param {Reply} reply
   */
  #piece(reply) {
    [this.#stale, this.#failures] = [false, 0];
    this.#keep(reply.offset ?? 0, reply.age);
    return null;
  }

  /** The server does not take the parts: it has lost one, perhaps. */
  #doubt() {
    this.#parts?.doubt();
    return new Interruption(true);
  }

  /**
   * @template T
   * @param {T} answer
   */
  #done(answer) {
    this.#parts?.forget();
    this.#forget();
    return answer;
  }

  /**
   * What an answer without success means: a new attempt, a new upload, or the end.
   * @param {Reply} reply
   */
  #failureOf({ status, offset, complete, retryAfter, answer }) {
    const passes = complete !== true && (PASSING.has(status) || (status < 300 && this.#url));
    // A name that is taken is told before the first byte, and a person decides.
    if (passes && status === 409 && offset !== null) return new Interruption();
    if (passes && (this.#url || status !== 409)) {
      const backend = /** @type {any} */ (answer.content)?.code === "backend-waiting";
      return new Interruption(true, retryAfter, backend);
    }
    if (this.#url && (status === 404 || status === 410)) {
      this.#forget();
      return new Interruption();
    }
    // What is kept stays worth something after a missing login or a full disk alone.
    if (status !== 401 && status !== 507) this.#forget();
    return new Final(answer);
  }

  /**
   * Wait, if it passes by itself.
   * @param {unknown} error
   */
  async #afterBreak(error) {
    if (this.#stop.signal.aborted) throw new Stopped();
    const isBreak = error instanceof Interruption || error instanceof NoResponse;
    if (!isBreak) throw error;
    this.#parts?.noteBreak();
    if (!(await this.sender.readable())) throw new FileGone();
    if (this.#stop.signal.aborted) throw new Stopped();
    const interruption = error instanceof Interruption ? error : new Interruption();
    const { busy, retryAfter, backend } = interruption;
    this.#failures += 1;
    // How long it may wait for its destination is the server's to say.
    if (busy && !backend && this.#failures > MOST_BUSY) throw new Busy();
    const delay = delayOf(this.#failures, retryAfter);
    const asked = backend ? "backend" : "busy";
    const why = navigator.onLine === false ? "offline" : busy ? asked : "broken";
    this.sender.breaks({ why, until: performance.now() + delay });
    await untilThen(delay, retryAfter !== null, this.#stop.signal);
  }

  /**
   * @param {number} offset
   * @param {number | null} age seconds
   */
  #keep(offset, age) {
    this.#offset = offset;
    this.#age = age;
    this.#save(offset);
  }

  /** @param {number} offset */
  #save(offset) {
    this.#savedAt = Date.now();
    const { endpoint, path, file } = this.sender;
    const { size, lastModified: modified } = file;
    const parts = this.#parts?.list;
    keepBookmark({ url: this.#url, endpoint, path, size, modified, offset, parts }, this.#age);
  }

  #forget() {
    this.#parts?.end();
    forgetBookmark(this.#url);
    release(this.#url);
    this.#url = "";
    this.#offset = 0;
  }
}
