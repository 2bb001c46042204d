// What passes by itself, how long to wait before an upload goes on, and what ends the wait early.
// Knows no upload.

/** Statuses of refusals after which the same request may succeed. */
export const PASSING = new Set([408, 409, 423, 425, 429, 500, 502, 503, 504]);

const FIRST_MS = 1000;
const MOST_MS = 30_000;
const MOST_ASKED_MS = 3600_000;

/**
 * Milliseconds until the next attempt: twice as long after each, and never the same for all pages
 * that lost one server in one moment.
 * @param {number} failures in a row, without a byte kept between them
 * @param {number | null} retryAfter seconds that the server asks for
 */
export function delayOf(failures, retryAfter) {
  const share = 0.5 + Math.random() / 2;
  const own = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(failures - 1, 10)) * share;
  if (retryAfter === null) return own;
  return Math.min(MOST_ASKED_MS, 1000 * retryAfter) + FIRST_MS * share;
}

/**
 * Resolves after that time, or as soon as the network is back unless the server asked for the time.
 * @param {number} milliseconds
 * @param {boolean} asked
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function untilThen(milliseconds, asked, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", online);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const online = () => asked || end();
    const timer = setTimeout(end, milliseconds);
    addEventListener("online", online);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}
