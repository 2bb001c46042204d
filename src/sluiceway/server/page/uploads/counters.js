// How far an upload is: what left the browser, and what the server reports. Knows no request.

import { Meter } from "./meter.js";

/** Emits "change" whenever something about it is new. */
export class Counters extends EventTarget {
  /** Bytes of the file that left the browser; some may still be in the network. */
  sent = 0;
  /** Bytes of the file that reached the server. */
  arrived = 0;
  /** Bytes of the file handed to the destination. */
  forwarded = 0;
  /** Bytes of the file that the destination acknowledged. */
  kept = 0;
  /** Whether the server has reported arrived, forwarded and kept; before, only `sent` is known. */
  reported = false;
  /** Whether only the destination's network has acknowledged `kept`, not the destination itself. */
  networkOnly = false;
  /** Whether the server has everything, and only the destination's answer is missing. */
  checking = false;
  /** Whether the destination does not answer now, and what is here waits for it. */
  waitsForBackend = false;
  /** Since when only the answer is missing (milliseconds of performance.now), or 0. */
  askedAt = 0;
  /** When the request under way began, after a break a later one (performance.now). */
  attemptAt = 0;
  /** Date.now() when a counter of the server moved last. */
  movedAt = 0;
  meter = new Meter();
  #overhead = 0;
  /** Bytes that are kept in parts behind those that the counters are told of. */
  #beside = 0;

  /** @param {number} size of the file, in bytes */
  constructor(size) {
    super();
    this.size = size;
  }

  /**
   * Bytes to measure speed and time by: what is kept, or what was sent while the server reports
   * nothing.
   */
  get counted() {
    return this.reported ? this.kept : this.sent;
  }

  /** As if nothing had been sent. */
  clear() {
    this.#beside = 0;
    this.reported = this.networkOnly = false;
    this.countFrom(0);
  }

  /**
   * A request begins that sends the bytes from an offset on.
   * @param {number} offset bytes that the server keeps
   * @param {boolean} goesOn at once after another one
   */
  countFrom(offset, goesOn = false) {
    this.kept = Math.min(this.size, offset + this.#beside);
    this.#overhead = 0;
    this.countKeptOnly();
    // What the server keeps is known from the start.
    this.reported ||= offset > 0;
    if (!goesOn) this.meter = new Meter();
    this.attemptAt = performance.now();
    this.movedAt = Date.now();
  }

  /** Nothing is under way: what was in the network is not there any more. */
  countKeptOnly() {
    this.sent = this.arrived = this.forwarded = this.kept;
    this.checking = this.waitsForBackend = false;
    this.askedAt = 0;
  }

  /**
   * @param {number} loaded bytes that left the browser: of the body, and of the file before it
   * @param {number} overhead bytes of the body that are not the file's
   */
  countLeft(loaded, overhead) {
    // The server's counter includes it too.
    this.#overhead = overhead;
    this.sent = this.#ofFile(loaded);
    if (!this.reported) this.meter.add(this.sent, performance.now());
  }

  /** @param {number} kept bytes of parts that are sent beside the beginning */
  countBeside(kept) {
    const more = kept - this.#beside;
    this.#beside = kept;
    for (const name of /** @type {const} */ (["sent", "arrived", "forwarded", "kept"])) {
      this[name] = Math.max(0, Math.min(this.size, this[name] + more));
    }
    this.meter.add(this.counted, performance.now());
  }

  /** @param {import("./progress.js").Snapshot} snapshot */
  countReported(snapshot) {
    if (!this.reported) this.meter = new Meter();
    this.reported = true;
    this.networkOnly = snapshot.kept_by === "kernel";
    this.waitsForBackend = snapshot.waiting_for === "backend";
    const [arrived, kept] = [this.#ofFile(snapshot.received), this.#ofParts(snapshot.kept)];
    if (arrived > this.arrived || kept > this.kept) this.movedAt = Date.now();
    this.kept = Math.max(this.kept, kept);
    this.forwarded = Math.max(this.forwarded, this.kept, this.#ofParts(snapshot.forwarded));
    // `received` counts the body; how much of its overhead stands behind the file is not known,
    // what was forwarded is.
    this.arrived = Math.max(this.arrived, this.forwarded, arrived);
    this.checking = snapshot.state === "checking";
    // A network's acknowledgements stop a byte short of the whole: only the destination confirms
    // all.
    const answerIsMissing = this.checking && (!this.networkOnly || this.kept >= this.size - 1);
    this.askedAt = answerIsMissing ? this.askedAt || performance.now() : 0;
    this.meter.add(this.kept, performance.now());
  }

  /** @param {number} ofBody */
  #ofFile(ofBody) {
    return this.#ofParts(Math.max(0, ofBody - this.#overhead));
  }

  /** @param {number} count bytes of the file, without those of the parts behind them */
  #ofParts(count) {
    return Math.min(this.size, count + this.#beside);
  }
}
