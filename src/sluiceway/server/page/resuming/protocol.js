// Resumable uploads over HTTP (draft-ietf-httpbis-resumable-upload), as a browser can speak them.
// Browsers show no 104, so an empty request makes the upload first. Decides nothing.

import { readAnswer } from "../uploads/response.js";

/** @typedef {import("../uploads/response.js").Answer} Answer */

const PARTIAL = "application/partial-upload";

/**
 * @typedef {object} Limits what a place says of uploads that go on after a break
 * @property {number} minSize bytes; a smaller file is sent in one request
 * @property {boolean} joins whether parts of a file may come beside its beginning
 *
 * @typedef {object} Reply
 * @property {number} status
 * @property {number | null} offset bytes that the server keeps
 * @property {boolean | null} complete whether this is the final answer; null: it does not say
 * @property {string} location
 * @property {number | null} age seconds that the server keeps the upload
 * @property {number | null} retryAfter seconds
 * @property {Answer} answer
 *
 * @typedef {object} Sent
 * @property {Blob} [body]
 * @property {AbortSignal} signal
 * @property {(loaded: number) => void} [left] bytes of the body that left the browser
 * @property {() => void} [all] all of them did
 */

/** There was no response: the connection broke, or there was none. */
export class NoResponse extends Error {}

/** @type {Map<string, Promise<Limits | null>>} */
const known = new Map();

/**
 * What a place says of such uploads; null where it keeps no pieces of files. Asked once.
 * @param {string} endpoint
 * @param {Record<string, string>} headers
 * @returns {Promise<Limits | null>}
 * @throws {NoResponse}
 */
export function limitsOf(endpoint, headers) {
  let limits = known.get(endpoint);
  if (!limits) {
    limits = askLimits(endpoint, headers);
    known.set(endpoint, limits);
    limits.catch(() => known.delete(endpoint));
  }
  return limits;
}

/** @type {(endpoint: string, headers: Record<string, string>) => Promise<Limits | null>} */
async function askLimits(endpoint, headers) {
  const answer = await fetch(endpoint, { method: "OPTIONS", headers }).catch(() => null);
  if (!answer) throw new NoResponse();
  const limits = answer.ok ? answer.headers.get("Upload-Limit") : null;
  const joins = /\bconcatenation\b/.test(answer.headers.get("Tus-Extension") ?? "");
  return limits === null ? null : { minSize: numberOf(limits, "min-size") ?? 0, joins };
}

/**
 * Make an upload without any byte.
 * @param {string} endpoint
 * @param {File} file
 * @param {string} path its name, with the folders it lay in
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 */
export function createUpload(endpoint, file, path, headers, signal) {
  const all = {
    ...headers,
    "Content-Type": file.type || "application/octet-stream",
    "Content-Disposition": `attachment; filename*=UTF-8''${encoded(path)}`,
    "Upload-Complete": "?0",
    "Upload-Length": String(file.size),
  };
  return exchange("POST", endpoint, all, { signal });
}

/**
 * How far an upload is.
 * @param {string} url
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 */
export function findOffset(url, headers, signal) {
  return exchange("HEAD", url, headers, { signal });
}

/**
 * Send bytes that are missing.
 * @param {string} url
 * @param {number} offset
 * @param {boolean} complete whether these are the last ones
 * @param {Record<string, string>} headers
 * @param {Sent} sent
 */
export function append(url, offset, complete, headers, sent) {
  const all = { "Upload-Offset": String(offset), "Upload-Complete": complete ? "?1" : "?0" };
  return exchange("PATCH", url, { ...headers, ...all, "Content-Type": PARTIAL }, sent);
}

/**
 * The header by which the last request names the uploads that have the rest of the bytes. Of this
 * server alone, and of no text.
 * @param {string[]} ids
 * @returns {Record<string, string>}
 */
export function partsHeader(ids) {
  return ids.length ? { "Upload-Parts": ids.join(" ") } : {};
}

/**
 * Have the server forget it. That it cannot be reached is no matter: it forgets by itself later.
 * @param {string} url
 * @param {Record<string, string>} headers
 */
export async function endUpload(url, headers) {
  await fetch(url, { method: "DELETE", headers, keepalive: true }).catch(() => null);
}

/**
 * @param {string} method
 * @param {string} url
 * @param {Record<string, string>} headers
 * @param {Sent} sent
 * @returns {Promise<Reply>}
 */
export function exchange(method, url, headers, { body, signal, left, all }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    signal.addEventListener("abort", stop, { once: true });
    if (left) request.upload.onprogress = ({ loaded }) => left(loaded);
    if (all) request.upload.onload = all;
    request.onload = () => resolve(replyOf(request));
    request.onerror = request.onabort = () => reject(new NoResponse());
    request.onloadend = () => signal.removeEventListener("abort", stop);
    request.open(method, url);
    request.setRequestHeader("Accept", "application/json");
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.send(body ?? null);
    if (signal.aborted) request.abort();
  });
}

/**
 * @param {XMLHttpRequest} request
 * @returns {Reply}
 */
function replyOf(request) {
  const header = (/** @type {string} */ name) => request.getResponseHeader(name) ?? "";
  const answer = readAnswer(request);
  const complete = header("Upload-Complete").split(";")[0].trim();
  const location = header("Location");
  return {
    status: request.status,
    offset: integer(header("Upload-Offset")),
    complete: complete === "?1" ? true : complete === "?0" ? false : null,
    location: location && URL.canParse(location, request.responseURL)
      ? new URL(location, request.responseURL).href
      : "",
    age: numberOf(header("Upload-Limit"), "max-age"),
    retryAfter: secondsOf(answer.retryAfter),
    answer,
  };
}

/**
 * A member of a dictionary (RFC 9651) that is a number.
 * @param {string} text
 * @param {string} key
 */
function numberOf(text, key) {
  const member = text.split(",").map((one) => one.trim()).find((one) => one.startsWith(`${key}=`));
  return integer(member?.slice(key.length + 1) ?? "");
}

/** @param {string} text */
function integer(text) {
  const digits = /^\d{1,15}$/.exec(text.split(";")[0].trim());
  return digits ? Number(digits[0]) : null;
}

/**
 * Retry-After: seconds or a date.
 * @param {string} text
 */
function secondsOf(text) {
  const at = text ? Date.parse(text) : Number.NaN;
  return integer(text) ?? (Number.isNaN(at) ? null : Math.max(0, (at - Date.now()) / 1000));
}

/**
 * As RFC 8187 wants it.
 * @param {string} name
 */
function encoded(name) {
  const hex = (/** @type {string} */ one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(name.toWellFormed?.() ?? name).replace(/['()*]/g, hex);
}
