// Sends the end of a large file beside its beginning, over more connections, where that is faster.
// The parts are uploads of their own (tus, concatenation); the file's last request joins them. Who
// sends the beginning sends in the end what is missing of a part: no part has to succeed here.

import { BEST, isFaster, notePace, paceAt, SOON } from "./pace.js";
import { idOf, isWhole, PartRefused, PartRequests } from "./part-requests.js";
import { NoResponse } from "./protocol.js";
import { endPart } from "./tus-parts.js";
import { delayOf, untilThen } from "./waiting.js";

/** @typedef {import("./part-requests.js").Part} Part */
/** @typedef {import("./sending.js").Sender} Sender */

// Bytes. Smaller files are sent before it is known whether more connections are faster.
const LARGE = 64 << 20;
const SMALLEST = 4 << 20;
// Of what nobody sends yet, a connection takes one part in so many. Each piece costs a round trip
// or two; large ones come first, and the last ones are small, so that all connections end together.
const SHARE = 3;
// A part that broke so often in a row is left to who sends the beginning.
const MOST_BREAKS = 3;
// A login that is missing, a disk that is full: what is kept stays worth something.
const KEPT = new Set([401, 507]);

/** @typedef {{ part: Part | null, done: Promise<void> }} Worker a connection, and what it sends */

export class Parts {
  /** @type {Set<Worker>} */
  #workers = new Set();
  /** Connections besides that of the beginning. */
  #wanted = 0;
  /** Up to where the beginning is being sent. */
  #front = 0;
  /** Whether the beginning is sent in pieces, so that others can take what is behind them. */
  #shares = false;
  #measures = false;
  /** Where the first request began. @type {{ at: number, offset: number } | null} */
  #begun = null;
  #disturbed = false;
  #hurries = false;
  /** Joins that the server refused. */
  #doubts = 0;
  #stop = new AbortController();
  /** Of those at work now: another file may need their connections. */
  #turn = new AbortController();

  /**
   * @param {Sender} sender
   * @param {string} whole the id of the upload that has the beginning
   * @param {Part[]} list those of an earlier page
   * @param {() => void} save
   */
  constructor(sender, whole, list, save) {
    this.sender = sender;
    this.list = list;
    this.requests = new PartRequests(sender, whole, () => this.#report(), save);
    const { size } = sender.file;
    const least = sender.connections ? 2 * SMALLEST : LARGE;
    const isLong = size > SOON * paceAt(sender.endpoint).rate;
    const mayGain = this.#verdict === null ? sender.alone() && isLong : this.#verdict > 1;
    this.#shares = size >= least && mayGain;
  }

  /** Connections that send bytes. */
  get connections() {
    return 1 + this.#workers.size;
  }

  /** Where the first one begins. */
  get start() {
    return this.list.at(0)?.start ?? this.sender.file.size;
  }

  get ids() {
    return this.list.map(idOf);
  }

  /** How many connections are asked for, or were found best; null: nobody knows. */
  get #verdict() {
    return this.sender.connections || paceAt(this.sender.endpoint).connections || null;
  }

  /**
   * Up to where the next request for the beginning goes. Others begin behind it.
   * @param {number} offset
   */
  begin(offset) {
    this.#prune();
    const now = performance.now();
    this.#begun ??= { at: now, offset };
    const rate = ((offset - this.#begun.offset) * 1000) / Math.max(1, now - this.#begun.at);
    // One request more for each piece is a loss where all is sent soon.
    if (this.#verdict === null && !this.#workers.size && this.start - offset < SOON * rate) {
      notePace(this.sender.endpoint, { rate });
      this.#beginNoMore();
    }
    const piece = this.#piece(this.start - offset);
    // What is too little for a part goes with the beginning.
    const isAll = !this.#shares || this.start - offset - piece < SMALLEST;
    this.#front = isAll ? this.start : offset + piece;
    if (this.#shares && this.sender.alone()) {
      if (this.#verdict !== null) this.#want(this.#verdict - 1);
      else if (!this.#measures) this.#measure();
    }
    return this.#front;
  }

  /** The connection of the beginning broke: nothing can be measured by it. */
  noteBreak() {
    this.#disturbed = true;
  }

  /** Send no more. What the server keeps stays there. */
  hold() {
    this.#beginNoMore();
    this.#stop.abort();
    this.#turn.abort();
  }

  /** Have the server forget all. */
  async end() {
    this.hold();
    await this.#drop(this.list.length);
  }

  /** The server has joined them, and forgotten them by that. */
  forget() {
    this.hold();
    this.list.length = 0;
  }

  /** The server did not join them: all have to be asked for. Twice: it never will. */
  doubt() {
    this.#doubts += 1;
    for (const part of this.list) part.stale = true;
    if (this.#doubts === 1) return;
    this.#beginNoMore();
    this.#drop(this.list.length);
  }

  /**
   * Ask how far those are that an earlier page began.
   * @param {AbortSignal} signal
   */
  async find(signal) {
    for (const part of this.list) {
      if (part.stale && !this.#isBusy(part)) await this.requests.find(part, signal);
    }
    this.#report();
  }

  /**
   * Wait for those at work, and send what they leave. What the server does not take as a part is
   * left to the beginning.
   * @param {AbortSignal} signal
   * @throws {NoResponse | PartRefused}
   */
  async finish(signal) {
    this.#hurries = true;
    try {
      await this.#rest();
      this.#prune();
      for (const part of this.list.filter((one) => !isWhole(one))) {
        if (!this.list.includes(part)) continue;
        await this.requests.send(part, signal).catch((error) => this.#afterRefusal(error, part));
      }
    } finally {
      this.#hurries = false;
    }
  }

  /**
   * @param {unknown} error
   * @param {Part} part
   */
  async #afterRefusal(error, part) {
    const isFinal = error instanceof PartRefused && !error.passes;
    if (!isFinal || KEPT.has(error.reply.status)) throw error;
    this.#beginNoMore();
    await this.#drop(this.list.indexOf(part) + 1);
  }

  /**
   * The first ones belong to the beginning again, and the server forgets them.
   * @param {number} count
   */
  async #drop(count) {
    const gone = this.list.splice(0, count);
    this.#report();
    await this.#rest();
    const made = gone.filter(({ url }) => url);
    await Promise.all(made.map(({ url }) => endPart(url, this.sender.headers())));
  }

  #beginNoMore() {
    this.#wanted = 0;
    this.#shares = false;
  }

  /** What was not made yet belongs to the beginning. */
  #prune() {
    while (this.list[0]?.url === "" && !this.#isBusy(this.list[0])) this.list.shift();
  }

  /** @param {Part} part */
  #isBusy(part) {
    return [...this.#workers].some((worker) => worker.part === part);
  }

  async #rest() {
    await Promise.all([...this.#workers].map(({ done }) => done));
  }

  /* ---- how many ---- */

  async #measure() {
    this.#measures = true;
    const faster = await isFaster(this.sender.endpoint, {
      arrived: () => this.requests.arrived(this.list),
      left: () => this.start - this.#front,
      use: (connections) => this.#want(connections - 1),
      isFair: () => !this.#disturbed && this.#shares && this.sender.alone(),
    });
    if (this.#stop.signal.aborted) return;
    if (faster) this.#want(BEST - 1);
    // The others end what they have begun, which is joined too; the first one sends all the rest.
    else this.#beginNoMore();
  }

  /** @param {number} workers */
  #want(workers) {
    this.#wanted = workers;
    while (this.#workers.size < workers && this.#next()) {
      /** @type {Worker} */
      const worker = { part: null, done: Promise.resolve() };
      this.#workers.add(worker);
      worker.done = this.#work(worker).finally(() => {
        this.#workers.delete(worker);
        this.sender.frees();
      });
    }
  }

  /** Bytes of the next piece, where so many are left. @param {number} left */
  #piece(left) {
    return Math.max(SMALLEST, Math.ceil(left / SHARE));
  }

  /* ---- one connection ---- */

  /** The next part: one that nobody sends, or a new one from the end. */
  #next() {
    const open = this.list.find((part) => !isWhole(part) && !this.#isBusy(part));
    const stop = this.start;
    const start = stop - this.#piece(stop - this.#front);
    if (open || start < this.#front) return open ?? null;
    return { url: "", start, stop, kept: 0, stale: false };
  }

  /** @param {Worker} worker */
  async #work(worker) {
    if (this.#turn.signal.aborted) this.#turn = new AbortController();
    for (let breaks = 0; breaks < MOST_BREAKS && this.#goesOn();) {
      const part = this.#next();
      if (!part) return;
      if (!this.list.includes(part)) this.list.unshift(part);
      worker.part = part;
      const before = part.kept;
      try {
        await this.requests.send(part, this.#turn.signal);
        breaks = 0;
      } catch (error) {
        if (!(error instanceof NoResponse || error instanceof PartRefused)) throw error;
        breaks = part.kept > before ? 1 : breaks + 1;
        const refused = error instanceof PartRefused;
        if (refused && !error.passes) this.#beginNoMore();
        if (!this.#goesOn() || this.#hurries) return;
        const asked = refused ? error.reply.retryAfter : null;
        await untilThen(delayOf(breaks, asked), asked !== null, this.#stop.signal);
      } finally {
        worker.part = null;
      }
    }
  }

  #goesOn() {
    return this.#workers.size <= this.#wanted && this.#isFree;
  }

  /** Whether no other file needs the connections. The last parts are not left any more. */
  get #isFree() {
    return this.sender.alone() || this.#hurries;
  }

  #report() {
    if (!this.#isFree) this.#turn.abort();
    this.sender.beside(this.list.reduce((sum, { kept }) => sum + kept, 0));
  }
}
