// Speed and time left from a counter that moves in steps. Knows nothing of uploads.

// Destinations acknowledge in steps (an S3 part, a disk flush): a window much longer than a step
// keeps the number calm.
const WINDOW_MS = 8000;
// A speed measured over a shorter time is noise.
const FIRST_WORD_MS = 700;
// The weight of a new forecast at each reading, once a second.
const TRUST = 0.35;

export class Meter {
  /** @type {{at: number, count: number}[]} */
  #samples = [];
  /** @type {number | null} */
  #forecast = null;
  #forecastAt = 0;
  /** When the counter last moved (milliseconds of performance.now). */
  movedAt = 0;

  /**
   * @param {number} count bytes so far
   * @param {number} at performance.now()
   */
  add(count, at) {
    const last = this.#samples.at(-1);
    if (last && count <= last.count) return;
    this.#samples.push({ at, count });
    this.movedAt = at;
    // One sample older than the window stays: it is the window's start.
    while (this.#samples.length > 2 && at - this.#samples[1].at > WINDOW_MS) this.#samples.shift();
  }

  /**
   * Bytes a second over the window, or null if it is too early to know. A counter that stands
   * still gets slower.
   * @param {number} at performance.now()
   */
  rate(at) {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || !last || at - first.at < FIRST_WORD_MS || last.count === first.count) return null;
    return ((last.count - first.count) * 1000) / (at - first.at);
  }

  /**
   * Seconds until `whole` is reached, smoothed, or null if it cannot be known.
   * @param {number} whole bytes
   * @param {number} at performance.now()
   */
  secondsLeft(whole, at) {
    const rate = this.rate(at);
    const last = this.#samples.at(-1);
    if (!rate || !last) return null;
    const fresh = (whole - last.count) / rate;
    if (this.#forecast === null) {
      this.#forecast = fresh;
      this.#forecastAt = at;
    } else if (at - this.#forecastAt > 900) {
      const expected = this.#forecast - (at - this.#forecastAt) / 1000;
      this.#forecast = expected + TRUST * (fresh - expected);
      this.#forecastAt = at;
    }
    return Math.max(0, this.#forecast);
  }
}
