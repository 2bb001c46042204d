// Where unfinished uploads go on: kept by the browser over reloads and restarts. Holds no token and
// no byte of a file. Each upload has an entry of its own, so that tabs do not overwrite each other.

/**
 * @typedef {object} Bookmark
 * @property {string} url of the upload
 * @property {string} endpoint where it was made
 * @property {string} path the file's name, with the folders it lay in
 * @property {number} size bytes
 * @property {number} modified of the file: milliseconds since 1970
 * @property {number} offset bytes that the server keeps, as far as is known
 * @property {import("./part-requests.js").Part[]} [parts] that were sent beside its beginning
 * @property {number} expires milliseconds since 1970
 * @property {number} saved milliseconds since 1970
 */

const PREFIX = "sluiceway.upload ";
const MOST = 50;
// Where the server names no end.
const LONGEST_MS = 30 * 24 * 3600_000;

/**
 * Where the browser keeps nothing, the entries live as long as the page.
 * @type {Map<string, string>}
 */
const ofThisPage = new Map();

/** All that have not expired, the newest first. */
export function bookmarks() {
  const found = [];
  for (const [key, text] of entries()) {
    const bookmark = parsedBookmark(text);
    if (bookmark && bookmark.expires > Date.now()) found.push(bookmark);
    else drop(key);
  }
  return found.sort((one, other) => other.saved - one.saved);
}

/**
 * Where this very file goes on at this place.
 * @param {string} endpoint
 * @param {string} path
 * @param {File} file
 */
export function bookmarksOf(endpoint, path, file) {
  return bookmarks().filter((one) => (
    one.endpoint === endpoint && one.path === path && one.size === file.size
      && one.modified === file.lastModified
  ));
}

/**
 * @param {Omit<Bookmark, "saved" | "expires">} bookmark
 * @param {number | null} age seconds that the server keeps the upload
 */
export function keepBookmark(bookmark, age) {
  const now = Date.now();
  const expires = now + Math.min(LONGEST_MS, age === null ? LONGEST_MS : 1000 * age);
  const key = PREFIX + bookmark.url;
  ofThisPage.set(key, JSON.stringify({ ...bookmark, expires, saved: now }));
  try {
    localStorage.setItem(key, ofThisPage.get(key) ?? "");
    ofThisPage.delete(key);
  } catch {
    // A browser that keeps nothing, or is full.
  }
  for (const { url } of bookmarks().slice(MOST)) forgetBookmark(url);
}

/** @param {string} url */
export function forgetBookmark(url) {
  drop(PREFIX + url);
}

/** @param {string} key */
function drop(key) {
  ofThisPage.delete(key);
  try {
    localStorage.removeItem(key);
  } catch {
    // Nothing is kept there.
  }
}

/** @returns {[string, string][]} */
function entries() {
  /** @type {[string, string][]} */
  let kept = [];
  try {
    kept = Object.entries(localStorage);
  } catch {
    // Nothing is kept there.
  }
  return [...kept, ...ofThisPage].filter(([key]) => key.startsWith(PREFIX));
}

/**
 * @param {string} text
 * @returns {Bookmark | null}
 */
function parsedBookmark(text) {
  try {
    const found = JSON.parse(text);
    const numbers = [found.size, found.modified, found.offset, found.expires, found.saved];
    const words = [found.url, found.endpoint, found.path];
    const right = numbers.every(Number.isFinite) && words.every((one) => typeof one === "string");
    return right && /^https?:/.test(found.url) && areParts(found) ? found : null;
  } catch {
    return null;
  }
}

/**
 * Whether its parts are the end of the file, without a gap.
 * @param {any} bookmark from the storage
 */
function areParts({ parts = [], size }) {
  return Array.isArray(parts) && parts.every(({ url, start, stop }, at) => (
    typeof url === "string" && Number.isSafeInteger(start) && start < stop
      && stop === (parts[at + 1]?.start ?? size)
  ));
}
