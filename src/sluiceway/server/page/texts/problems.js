// The texts of failures: what happened, and what to do now. Reads problem+json (RFC 9457) by its codes.

import { bytes, duration } from "./format.js";
import { parsed, wordsOf } from "./body-text.js";

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
  "peer-failed": ["The destination broke off or answered what is no answer.", "Look there before you retry: it may have the file."],
  "peer-unreachable": ["The destination cannot be reached; nothing was stored.", "Retry in a while; if it happens again, tell whoever runs the server."],
  "peer-timeout": ["The destination took or sent nothing for too long.", "Look there before you retry: it may have the file."],
  "refused": ["The destination refused it.", "Retry; if it happens again, tell whoever runs the server."],
  "unavailable": ["The server is stopping or too busy.", "Retry in a moment."],
  "cancelled": ["The transfer was cancelled on the server.", "Retry if you still want it there."],
});

/** The meaning of a destination's status: [what it means, what to do]. */
const FOREIGN = /** @type {Record<number, [string, string]>} */ ({
  400: ["it cannot make sense of the request", ""],
  401: ["it does not let this server in", ""],
  403: ["it does not allow this", ""],
  404: ["there is no place for the file at its address", ""],
  405: ["its address takes no files", ""],
  409: ["something of that name is there already", "Rename the file, or take the other one away there, then retry."],
  411: ["it wants to know the length before the file", ""],
  412: ["it was changed there in the meantime", "Look there before you retry."],
  413: ["the file is too large for it", "Send a smaller file."],
  415: ["it does not take this kind of file", "Send the file in another form."],
  422: ["it does not accept this file", "Change the file, then send it again."],
  429: ["it has too much to do", "Retry in a moment."],
  503: ["it is stopping or too busy", "Retry in a moment."],
  504: ["it waited too long for a server behind it", "Retry in a while."],
  507: ["it is full", "Make room there, then retry."],
});

/** For responses of other servers, which have a status and no code of ours. */
const CODE_OF_STATUS = /** @type {Record<number, string>} */ ({
  401: "unauthorized", 403: "forbidden", 404: "not-found", 405: "not-found", 408: "too-slow", 409: "exists",
  412: "precondition-failed", 413: "too-large", 415: "unsupported", 422: "unacceptable", 429: "unavailable", 499: "cancelled",
  503: "unavailable", 507: "no-space",
});

/**
 * The words for an answer that is not a success.
 * @param {Pick<import("../uploads/response.js").Answer, "status" | "type" | "body" | "passedOn" | "retryAfter">} answer
 * @param {number} size of the file, in bytes
 * @returns {Problem}
 */
export function problemOfAnswer(answer, size) {
  const { status, type, body } = answer;
  const members = /** @type {any} */ (/\bjson\b/.test(type) ? parsed(body) : null) ?? {};
  if (answer.passedOn) return refusal(answer, members, size);
  if (typeof members.code === "string") return problemOfCode(members.code, { ...members, status }, size);
  const code = CODE_OF_STATUS[status];
  if (code && code in WORDS) return problemOfCode(code, { title: members.title, detail: wordsOf(type, body), status }, size);
  return {
    code: code ?? `status-${status}`,
    status,
    title: sentence(text(members.title)) || `The server answered ${status}.`,
    detail: sentence(wordsOf(type, body)),
    todo: status >= 500 ? "Retry in a while." : "Tell whoever runs the server.",
  };
}

/**
 * The destination refused, and this server passed that on. Its codes are not ours, so the status
 * decides the text; the destination's own text follows.
 * @param {Parameters<typeof problemOfAnswer>[0]} answer
 * @param {any} members its JSON, or {}
 * @param {number} size of the file, in bytes
 * @returns {Problem}
 */
function refusal({ status, type, body, retryAfter }, members, size) {
  let [means, todo] = FOREIGN[status] ?? (status >= 500 ? ["it failed", "Retry in a while."] : ["it refused the file", ""]);
  if (status === 413 && typeof members.limit === "number") means = `the file is ${bytes(size)}, it takes up to ${bytes(members.limit)}`;
  if (/^\d{1,6}$/.test(retryAfter)) todo = `It asks to come back in ${duration(Number(retryAfter))}.`;
  const words = wordsOf(type, body);
  return {
    code: CODE_OF_STATUS[status] ?? `status-${status}`,
    status,
    title: `The destination answered ${status}: ${means}.`,
    detail: words ? `It says: “${words}”.` : "",
    todo: todo || "Tell whoever runs the server.",
  };
}

/**
 * The words for one of the server's codes.
 * @param {string} code
 * @param {Record<string, any>} members the problem's members
 * @param {number} size of the file, in bytes
 * @returns {Problem}
 */
export function problemOfCode(code, members, size) {
  const [title, todo] = WORDS[code] ?? ["", "Retry; if it happens again, tell whoever runs the server."];
  /** @type {Problem} */
  const problem = {
    code,
    status: members.status,
    title: title || sentence(text(members.title) || "The server refused this."),
    detail: sentence(text(members.detail)),
    todo,
  };
  if (code === "too-large" && typeof members.limit === "number") {
    problem.title = `This file is ${bytes(size)}; the server takes up to ${bytes(members.limit)}.`;
    problem.detail = "";
  }
  // A detail that repeats the title is dropped.
  if (problem.detail === problem.title || members.detail === members.title) problem.detail = "";
  return problem;
}

/**
 * The connection broke, so there is no response.
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

/** @param {unknown} value */
function text(value) {
  return typeof value === "string" ? value : "";
}

/** @param {string} words */
function sentence(words) {
  return words && !/[.!?…]$/.test(words) ? `${words}.` : words;
}
