// Which upload runs now, and what they are together. Draws nothing.

import { canRetry } from "../texts/problems.js";

/** @typedef {import("./upload.js").Upload} Upload */

/**
 * @typedef {object} Totals
 * @property {number} count uploads that were not cancelled
 * @property {number} waiting
 * @property {number} active
 * @property {number} done
 * @property {number} failed
 * @property {number} size bytes of all that is done or to be done
 * @property {number} counted bytes of them that are kept (or sent, where nobody tells)
 */

// Failures of the connection or the server, and not of the file: the next file would fail the same.
const NOTHING_GETS_THROUGH = new Set([
  "connection-lost",
  "offline",
  "unauthorized",
  "unavailable",
  "peer-unreachable",
]);
// What a person has to look at first: only its own button tries these again, never "retry all".
const LOOK_FIRST = new Set(["exists", "precondition-failed", "answer-lost"]);

/**
 * Emits "change" with `detail` = the upload that changed (or null), so that one listener serves any
 * number of uploads.
 */
export class Queue extends EventTarget {
  /** @type {Upload[]} */
  uploads = [];
  /** Set when nothing gets through: the rest waits instead of failing one after the other. */
  paused = false;

  /** @param {number} parallel how many are sent at a time */
  constructor(parallel) {
    super();
    this.parallel = parallel;
    // The end of an upload closes its connection: say so before the person loses it.
    addEventListener("beforeunload", (event) => {
      if (this.uploads.some(({ active, state }) => active || state === "waiting")) {
        event.preventDefault();
      }
    });
    addEventListener("online", () => this.resume());
  }

  get busy() {
    return this.uploads.some((upload) => !upload.ended);
  }

  /** @param {Upload[]} uploads */
  add(uploads) {
    for (const upload of uploads) {
      upload.addEventListener("change", () => this.#onChange(upload));
      upload.addEventListener("frees", () => this.#fill());
      upload.alone = () => !this.uploads.some((other) => (
        other !== upload && (other.active || other.state === "waiting")
      ));
      this.uploads.push(upload);
    }
    this.#changed(null);
    this.#fill();
  }

  /** @param {Upload} upload */
  retry(upload) {
    if (upload.state !== "failed" && upload.state !== "cancelled") return;
    upload.forgetDecision();
    upload.reset();
    this.resume();
  }

  /**
   * Let another one have its turn.
   * @param {Upload} upload
   */
  hold(upload) {
    upload.hold();
    this.#fill();
  }

  /** @param {Upload} upload */
  goOn(upload) {
    upload.goOn();
    this.resume();
  }

  /** Those that failed for a reason that may have passed. */
  get retryable() {
    return this.uploads.filter(
      ({ problem }) => problem && canRetry(problem) && !LOOK_FIRST.has(problem.code),
    );
  }

  retryFailed() {
    for (const upload of this.retryable) upload.reset();
    this.resume();
  }

  resume() {
    this.paused = false;
    this.#changed(null);
    this.#fill();
  }

  cancelAll() {
    // From the end: else each cancelled one would let the next one begin.
    for (const upload of this.uploads.toReversed()) upload.cancel();
  }

  /**
   * Forget those that have ended well or were given up; failures stay until they are retried or
   * removed by hand.
   * @param {(upload: Upload) => boolean} [which]
   */
  forget(which = (upload) => upload.state === "done" || upload.state === "cancelled") {
    const gone = this.uploads.filter((upload) => upload.ended && which(upload));
    this.uploads = this.uploads.filter((upload) => !gone.includes(upload));
    this.#changed(null);
    return gone;
  }

  /** @returns {Totals} */
  get totals() {
    const totals = { count: 0, waiting: 0, active: 0, done: 0, failed: 0, size: 0, counted: 0 };
    for (const upload of this.uploads) {
      if (upload.state === "cancelled") continue;
      totals.count += 1;
      if (upload.state === "failed") {
        totals.failed += 1;
        continue;
      }
      totals.size += upload.size;
      totals.counted += upload.state === "done" ? upload.size : upload.counted;
      if (upload.state === "done") totals.done += 1;
      else if (!upload.active) totals.waiting += 1;
      else totals.active += 1;
    }
    return totals;
  }

  /** @param {Upload} upload */
  #onChange(upload) {
    if (upload.problem && NOTHING_GETS_THROUGH.has(upload.problem.code)) this.paused = true;
    this.#changed(upload);
    if (upload.ended) this.#fill();
  }

  #fill() {
    const active = this.uploads.filter((upload) => upload.active);
    let free = active.reduce((left, { connections }) => left - connections, this.parallel);
    for (const upload of this.uploads) {
      if (free <= 0 || this.paused) return;
      if (upload.state !== "waiting") continue;
      free -= 1;
      upload.start();
    }
  }

  /** @param {Upload | null} upload */
  #changed(upload) {
    this.dispatchEvent(new CustomEvent("change", { detail: upload }));
  }
}
