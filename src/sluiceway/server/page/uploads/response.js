// Reads the response to an upload: who wrote it, where the file is now, where the time went.

import { parsed, wordsOf } from "../texts/body-text.js";
import { readTiming } from "./timing.js";

/**
 * @typedef {object} Digest
 * @property {string} name of its algorithm, as the server's --digest has it
 * @property {string} digits hexadecimal digits
 */

// The strongest first.
const DIGESTS = ["sha-256", "sha-512", "blake3", "crc64nvme"];

/**
 * @typedef {object} Entry a stored file, as the server describes it
 * @property {string} key
 * @property {string} filename
 * @property {number} size
 * @property {string | null} [sha-256]
 * @property {string | null} url
 * @property {string} [modified]
 * @property {string} [etag]
 * @property {string} [expires] when the server deletes it
 * @property {string} [state] waiting: its destination does not take it now
 * @property {string} [upload] then: the path of the upload that brings it there
 * @property {string[]} [notes]
 * @property {Place[]} [destinations]
 *
 * @typedef {object} Place one of several destinations, and what became of the file there
 * @property {string} to
 * @property {boolean} [required]
 * @property {number} [status]
 * @property {string} [location]
 * @property {string} [note]
 *
 * @typedef {object} Answer
 * @property {number} status
 * @property {string} type its Content-Type
 * @property {string} body
 * @property {boolean} passedOn the destination's own response, passed on unchanged by the server of
 *   this page
 * @property {unknown} content the body: parsed if it is JSON, else as text
 * @property {Entry | null} entry
 * @property {string} link where the file can be opened, or ""
 * @property {Digest | null} digest the strongest that the response names
 * @property {string} words the text of the body for people, or ""
 * @property {string} retryAfter
 * @property {import("./timing.js").Timing | null} timing
 */

/**
 * @param {XMLHttpRequest} request
 * @returns {Answer}
 */
export function readAnswer(request) {
  const header = (/** @type {string} */ name) => request.getResponseHeader(name) ?? "";
  const type = header("Content-Type");
  const body = request.responseText;
  const passedOn = /\bsluiceway\b/.test(header("Via"));
  const content = /\bjson\b/.test(type) ? parsed(body) : body;
  const entry = entryOf(content);
  const link = linkOf(header("Location"), entry, passedOn, request.responseURL);
  const timing = readTiming(header("Server-Timing"), passedOn ? "backend" : "destination");
  const verdict = /** @type {any} */ (content)?.verdict;
  // Our own response names the destination. One that was passed on is about the server behind ours.
  if (timing && !passedOn && entry && typeof verdict === "string") timing.verdict = verdict;
  return {
    status: request.status,
    type,
    body,
    passedOn,
    content,
    entry: entry && passedOn ? { ...entry, url: link || null } : entry,
    link,
    digest: digestOf(entry),
    words: wordsOf(type, body),
    retryAfter: header("Retry-After"),
    timing,
  };
}

/**
 * An address that is safe to link: HTTP, and no user name that makes it look like another host.
 * Else "".
 * @param {unknown} address
 * @param {string} base
 */
export function httpLink(address, base = location.href) {
  if (typeof address !== "string" || !address || !URL.canParse(address, base)) return "";
  const url = new URL(address, base);
  return /^https?:$/.test(url.protocol) && !url.username && !url.password ? url.href : "";
}

/**
 * @param {unknown} content
 * @returns {Entry | null}
 */
function entryOf(content) {
  const entry = /** @type {any} */ (content)?.files?.[0];
  return typeof entry === "object" ? entry : null;
}

/**
 * @param {any} entry
 * @returns {Digest | null}
 */
function digestOf(entry) {
  const name = DIGESTS.find((name) => /^[0-9a-f]{16,128}$/i.test(entry?.[name] ?? ""));
  return name ? { name, digits: entry[name] } : null;
}

/**
 * Location comes first. An entry's url is relative to the server that wrote it, so only an absolute
 * one is right in a response that was passed on.
 * @param {string} header
 * @param {Entry | null} entry
 * @param {boolean} passedOn
 * @param {string} base
 */
function linkOf(header, entry, passedOn, base) {
  const named = httpLink(header, base);
  if (named || (passedOn && !URL.canParse(entry?.url ?? ""))) return named;
  return httpLink(entry?.url, base);
}
