// The end of a request that nobody answers any more: systems notice a dead connection by themselves
// only after many minutes. Knows no upload.

const LOOK_MS = 1000;
// Browsers wake the timers of hidden pages once a minute.
const ASLEEP_MS = 90_000;

/** Its signal aborts with `stop`, with the network, or when nothing has moved for too long. */
export class GuardedRequest {
  #request = new AbortController();
  /** Date.now() when bytes left; Infinity: none will. */
  #leftAt = Date.now();
  #most = 0;
  #lookedAt = Date.now();

  /**
   * @param {AbortSignal | undefined} stop
   * @param {number} stillMs after which a new connection is better
   * @param {() => number} [movedAt] Date.now() of the last other sign of life
   */
  constructor(stop, stillMs, movedAt = () => 0) {
    const abort = () => this.abort();
    const timer = setInterval(() => {
      const now = Date.now();
      // The machine slept: whatever it was connected to has given it up.
      const slept = now - this.#lookedAt > ASLEEP_MS;
      this.#lookedAt = now;
      if (slept || now - Math.max(this.#leftAt, movedAt()) > stillMs) abort();
    }, LOOK_MS);
    addEventListener("offline", abort);
    stop?.addEventListener("abort", abort);
    this.signal.addEventListener("abort", () => {
      clearInterval(timer);
      removeEventListener("offline", abort);
      stop?.removeEventListener("abort", abort);
    });
    if (stop?.aborted) abort();
  }

  get signal() {
    return this.#request.signal;
  }

  /** @param {number} loaded bytes of the body that left the browser */
  left(loaded) {
    // On a connection that was used before, browsers send a request once more by themselves; from
    // where it began, that is wrong by now.
    if (loaded < this.#most) this.abort();
    [this.#leftAt, this.#most] = [Date.now(), loaded];
  }

  /** All bytes left: the destination may take its time now. */
  allLeft() {
    this.#leftAt = Infinity;
  }

  /** End it, also one that has its response: what watches it ends, too. */
  abort() {
    this.#request.abort();
  }
}
