// Whether a second connection makes an upload faster: measured once for each place, while a file is
// sent. It does where each connection is limited; on a plain line it brings nothing.

/** Connections that are faster together. Browsers have six to a server, and others need some. */
export const BEST = 3;

// A connection needs a moment to find its speed.
const SETTLE_MS = 500;
const WINDOW_MS = 800;
// Less of a gain may be chance.
const LEAST_GAIN = 1.3;
// Seconds. What is sent so soon is sent before the answer is of use.
export const SOON = 4;

/** Connections to use at a place, as far as is known. @type {Map<string, number>} */
const verdicts = new Map();

/**
 * @typedef {object} Measured an upload under way
 * @property {() => Promise<number>} arrived bytes that have reached the server, by all connections
 * @property {() => number} left bytes that are not begun
 * @property {() => void} more a second connection begins
 * @property {() => boolean} isFair whether nothing has disturbed it
 */

/**
 * @param {string} endpoint
 * @returns {number | null} connections; null: nobody knows
 */
export function knownVerdict(endpoint) {
  return verdicts.get(endpoint) ?? null;
}

/**
 * @param {string} endpoint
 * @param {Measured} upload
 * @returns {Promise<boolean>} false also where nobody knows
 */
export async function isFaster(endpoint, upload) {
  await pause(SETTLE_MS);
  // The faster of two moments: a pause of the machine in one would look like a gain later.
  const [first, second] = [await rateOf(upload), await rateOf(upload)];
  const alone = first && second && Math.max(first, second);
  if (!alone || upload.left() < SOON * alone) return false;
  upload.more();
  await pause(SETTLE_MS);
  const [third, fourth] = [await rateOf(upload), await rateOf(upload)];
  const together = third && fourth && (third + fourth) / 2;
  if (!together) return false;
  const isFast = together >= LEAST_GAIN * alone;
  verdicts.set(endpoint, isFast ? BEST : 1);
  return isFast;
}

/**
 * Bytes a second; null: it was disturbed.
 * @param {Measured} upload
 */
async function rateOf({ arrived, isFair }) {
  const [from, before] = [performance.now(), await arrived()];
  await pause(WINDOW_MS);
  const [until, after] = [performance.now(), await arrived()];
  return isFair() ? ((after - before) * 1000) / (until - from) : null;
}

/** @param {number} milliseconds */
function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
