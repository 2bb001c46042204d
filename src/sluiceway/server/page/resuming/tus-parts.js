// Partial uploads of tus 1.0.0 (creation, concatenation), as a browser can speak them. They become
// no file by themselves. Decides nothing.

import { endUpload, exchange } from "./protocol.js";

export const TUS = { "Tus-Resumable": "1.0.0" };

/**
 * @param {string} endpoint
 * @param {Blob} piece
 * @param {string} path of the file that it is a part of
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 */
export function createPart(endpoint, piece, path, headers, signal) {
  const all = {
    ...headers,
    ...TUS,
    "Upload-Concat": "partial",
    "Upload-Length": String(piece.size),
    "Upload-Metadata": `filename ${base64(path)},filetype ${base64(piece.type)}`,
  };
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

/** @param {string} text */
function base64(text) {
  const bytes = new TextEncoder().encode(text);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}
