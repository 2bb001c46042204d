// Partial uploads of tus 1.0.0 (creation, concatenation), as a browser can speak them. Each is part
// of an upload that it names, and becomes no file by itself. Decides nothing.

import { endUpload, exchange } from "./protocol.js";

export const TUS = { "Tus-Resumable": "1.0.0" };

/**
 * @param {string} endpoint
 * @param {string} whole the id of the upload that it is a part of
 * @param {number} size bytes
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 */
export function createPart(endpoint, whole, size, headers, signal) {
  const part = { "Upload-Concat": "partial", "Upload-Part-Of": whole };
  const all = { ...headers, ...TUS, ...part, "Upload-Length": String(size) };
  return exchange("POST", endpoint, all, { signal });
}

/**
 * @param {string} url
 * @param {number} offset
 * @param {Record<string, string>} headers
 * @param {import("./protocol.js").Sent} sent
 */
export function appendPart(url, offset, headers, sent) {
  const type = "application/offset+octet-stream";
  const all = { ...headers, ...TUS, "Upload-Offset": String(offset), "Content-Type": type };
  return exchange("PATCH", url, all, sent);
}

/**
 * @param {string} url
 * @param {Record<string, string>} headers
 */
export function endPart(url, headers) {
  return endUpload(url, { ...headers, ...TUS });
}
