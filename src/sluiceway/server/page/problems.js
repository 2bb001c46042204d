// Failures into words: what happened, and what to do now. Reads problem+json (RFC 9457) by its stable codes.

import { bytes } from "./format.js";

/**
 * @typedef {object} Problem
 * @property {string} code stable; ours ("too-large") or the page's own ("connection-lost")
 * @property {number} [status]
 * @property {string} title what happened
 * @property {string} detail the server's sentence, or ""
 * @property {string} todo what to do now
 */

/** What a code means to the person at the screen: [what happened, what to do]. An empty title takes the server's. */
const WORDS = /** @type {Record<string, [string, string]>} */ ({
  "unauthorized": ["The server wants a token.", "Reload the page and sign in: any user name, and the token as the password."],
  "forbidden": ["The server does not allow this.", "Ask whoever runs it."],
  "not-found": ["There is nothing at this address to send to.", "Reload the page; the server may have moved."],
  "exists": ["The name is taken there.", "Rename the file, or delete the stored one, then retry."],
  "precondition-failed": ["It was changed there in the meantime.", "Reload the page and look before you retry."],
  "too-large": ["The file is larger than this server takes.", "Send a smaller file, or ask whoever runs the server to raise the limit."],
  "too-slow": ["Nothing arrived at the server for too long.", "Check your connection, then retry."],
  "body-cut": ["The connection broke before the file was complete.", "Retry."],
  "bad-name": ["No safe name can be made of this file's name.", "Rename the file, then send it again."],
  "bad-form": ["The server could not read the form.", "Retry; if it happens again, tell whoever runs the server."],
  "digest-mismatch": ["What arrived is not what was sent.", "Retry; the bytes changed on the way."],
  "unsupported": ["The server does not take this kind of content.", "Send it in another form."],
  "no-space": ["The destination is full.", "Make room there, then retry."],
  "store-failed": ["The destination failed.", "Retry; if it happens again, tell whoever runs the server."],
  "peer-failed": ["The next server on the way failed.", "Retry in a while."],
  "unavailable": ["The server is stopping or too busy.", "Retry in a moment."],
  "cancelled": ["The transfer was cancelled on the server.", "Retry if you still want it there."],
});

/** For answers that are not ours: a proxy in between speaks in bare status numbers. */
const CODE_OF_STATUS = /** @type {Record<number, string>} */ ({
  401: "unauthorized", 403: "forbidden", 404: "not-found", 405: "not-found", 408: "too-slow", 409: "exists",
  412: "precondition-failed", 413: "too-large", 415: "unsupported", 499: "cancelled", 503: "unavailable", 507: "no-space",
});

/**
 * The words for an answer that is not a success.
 * @param {number} status
 * @param {string} contentType
 * @param {string} body
 * @param {number} size of the file, in bytes
 * @returns {Problem}
 */
export function problemOfAnswer(status, contentType, body, size) {
  const said = contentType.includes("json") ? readJson(body) : null;
  if (said && typeof said.code === "string") return problemOfCode(said.code, { ...said, status }, size);
  const code = CODE_OF_STATUS[status];
  if (code) return problemOfCode(code, { ...said, status }, size);
  return {
    code: `status-${status}`,
    status,
    title: text(said?.title) || `The server answered ${status}.`,
    detail: text(said?.detail),
    todo: status >= 500 ? "Retry in a while." : "Tell whoever runs the server.",
  };
}

/**
 * The words for one of the server's codes.
 * @param {string} code
 * @param {Record<string, any>} said the problem's members
 * @param {number} size of the file, in bytes
 * @returns {Problem}
 */
export function problemOfCode(code, said, size) {
  const [title, todo] = WORDS[code] ?? ["", "Retry; if it happens again, tell whoever runs the server."];
  /** @type {Problem} */
  const problem = {
    code,
    status: said.status,
    title: title || sentence(text(said.title) || "The server refused this."),
    detail: sentence(text(said.detail)),
    todo,
  };
  if (code === "too-large" && typeof said.limit === "number") {
    problem.title = `This file is ${bytes(size)}; the server takes up to ${bytes(said.limit)}.`;
    problem.detail = "";
  }
  // A title repeated as the detail says nothing new.
  if (problem.detail === problem.title || said.detail === said.title) problem.detail = "";
  return problem;
}

/**
 * The connection broke, so nobody answered.
 * @param {number} arrived bytes of the file known to have left or arrived
 * @param {boolean} wholeBodySent then the file may be stored although the answer was lost
 * @returns {Problem}
 */
export function connectionLost(arrived, wholeBodySent) {
  const offline = navigator.onLine === false;
  if (wholeBodySent) {
    return {
      code: "answer-lost", title: "The connection broke before the server's answer came.", detail: "",
      todo: "It may be stored or not: look at the stored files before you retry.",
    };
  }
  return {
    code: offline ? "offline" : "connection-lost",
    title: arrived > 0 ? `The connection broke after ${bytes(arrived)}; nothing was stored.`
      : offline ? "You are offline; nothing was sent." : "The server cannot be reached; nothing was sent.",
    detail: "",
    todo: offline ? "Retry when you are back online." : "Check that the server runs, then retry.",
  };
}

/** @returns {Problem} */
export function fileGone() {
  return {
    code: "file-gone", title: "The file was changed, moved or deleted on this device while it was being sent.", detail: "",
    todo: "Choose it again.",
  };
}

/** @param {string} body */
function readJson(body) {
  try {
    return /** @type {Record<string, any>} */ (JSON.parse(body));
  } catch {
    return null;
  }
}

/** @param {unknown} value */
function text(value) {
  return typeof value === "string" ? value : "";
}

/** @param {string} words */
function sentence(words) {
  return words && !/[.!?…]$/.test(words) ? `${words}.` : words;
}
