// Whether more connections make an upload faster: measured for each place while a file is sent, and
// kept for an hour, also over reloads. They do where each connection is limited; on a plain line
// they bring nothing. In doubt, one sends.

/** Connections that are faster together. Browsers have six to a server, and others need some. */
export const BEST = 3;

// A connection needs a moment to find its speed.
const SETTLE_MS = 500;
const WINDOW_MS = 800;
// Less of a gain may be chance.
const LEAST_GAIN = 1.3;
// Seconds. What is sent so soon is sent before the answer is of use.
export const SOON = 4;

// A laptop goes to other lines.
const KEPT_MS = 3600_000;
const PREFIX = "sluiceway.pace ";

/**
 * @typedef {object} Pace what is known of a place
 * @property {number} connections that are fastest; 0: nobody knows
 * @property {number} rate bytes a second of one; 0: nobody knows
 * @property {number} measured milliseconds since 1970
 */

/** @type {Map<string, Pace>} */
const ofThisPage = new Map();

/**
 * @typedef {object} Measured an upload under way
 * @property {() => Promise<number>} arrived bytes that have reached the server, by all connections
 * @property {() => number} left bytes that are not begun
 * @property {(connections: number) => void} use so many send from now on
 * @property {() => boolean} isFair whether nothing has disturbed it
 */

/**
 * @param {string} endpoint
 * @returns {Pace}
 */
export function paceAt(endpoint) {
  const found = ofThisPage.get(endpoint) ?? storedPace(endpoint);
  const age = Date.now() - (found?.measured ?? 0);
  return found && age >= 0 && age < KEPT_MS ? found : { connections: 0, rate: 0, measured: 0 };
}

/**
 * @param {string} endpoint
 * @param {Partial<Pace>} found
 */
export function notePace(endpoint, found) {
  const pace = { ...paceAt(endpoint), ...found, measured: Date.now() };
  ofThisPage.set(endpoint, pace);
  try {
    localStorage.setItem(PREFIX + endpoint, JSON.stringify(pace));
  } catch {
    // A browser that keeps nothing, or is full.
  }
}

/**
 * @param {string} endpoint
 * @returns {Pace | null}
 */
function storedPace(endpoint) {
  try {
    const found = JSON.parse(localStorage.getItem(PREFIX + endpoint) ?? "");
    const { connections, rate, measured } = found;
    const right = [0, 1, BEST].includes(connections) && rate >= 0 && Number.isFinite(measured);
    return right ? found : null;
  } catch {
    return null;
  }
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
  if (!alone) return false;
  notePace(endpoint, { rate: alone });
  if (upload.left() < SOON * alone) return false;
  for (const connections of [2, BEST]) {
    upload.use(connections);
    await pause(SETTLE_MS);
    const [third, fourth] = [await rateOf(upload), await rateOf(upload)];
    // The slower of two: a busy machine is faster for a moment, too.
    const together = third && fourth && Math.min(third, fourth);
    if (!together) return false;
    if (together < LEAST_GAIN * alone) {
      notePace(endpoint, { connections: 1 });
      return false;
    }
    // What two have gained, all have to show as well, if the file lasts for that.
    if (upload.left() < SOON * together) break;
  }
  notePace(endpoint, { connections: BEST });
  return true;
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
