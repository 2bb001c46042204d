// The texts of failures: what happened, and what to do now. Reads problem+json (RFC 9457) by its
// codes. Each code has its texts in the catalogue; a code without any shows the server's sentence.

import { parsed, wordsOf } from "./body-text.js";

/** @typedef {import("./texts.js").Texts} Texts */

/**
 * @typedef {object} Problem
 * @property {string} code stable; ours ("too-large") or the page's own ("connection-lost")
 * @property {number} [status]
 * @property {string} title what happened
 * @property {string} detail the server's sentence, or ""
 * @property {string} todo what to do now
 */

/** For responses of other servers, which have a status and no code of ours. */
const CODE_OF_STATUS = /** @type {Record<number, string>} */ ({
  401: "unauthorized",
  403: "forbidden",
  404: "not-found",
  405: "not-found",
  408: "too-slow",
  409: "exists",
  412: "precondition-failed",
  413: "too-large",
  415: "unsupported",
  422: "unacceptable",
  429: "unavailable",
  499: "cancelled",
  503: "unavailable",
  507: "no-space",
});

// Refusals that the same file meets again, whenever it is sent. A progress report has a code only.
const FINAL_CODES = new Set([
  "forbidden", "not-found", "retained", "too-large", "bad-name", "bad-form",
  "unsupported", "unacceptable", "file-gone", "upload-refused",
]);
// Of the 4xx these may pass: who signs in, a time out, a stored file that is taken away, a lock,
// too early, too many requests, cancelled.
const PASSING = new Set([401, 408, 409, 412, 423, 425, 429, 499]);
// Of the 5xx these say that the server cannot do it at all.
const LASTING = new Set([501, 505]);

/**
 * Whether sending the same file again, with nothing else changed, can help.
 * @param {Problem} problem
 */
export function canRetry({ code, status = 0 }) {
  if (code === "body-cut" || code === "digest-mismatch") return true;
  if (FINAL_CODES.has(code) || LASTING.has(status)) return false;
  return status < 400 || status >= 500 || PASSING.has(status);
}

/**
 * The texts for an answer that is not a success.
 * @param {Texts} texts
 * @param {Pick<import("../uploads/response.js").Answer,
 *   "status" | "type" | "body" | "passedOn" | "retryAfter">} answer
 * @param {number} size of the file, in bytes
 * @returns {Problem}
 */
export function problemOfAnswer(texts, answer, size) {
  const { status, type, body } = answer;
  const members = /** @type {any} */ (/\bjson\b/.test(type) ? parsed(body) : null) ?? {};
  if (answer.passedOn) return refusal(texts, answer, members, size);
  if (typeof members.code === "string") {
    return problemOfCode(texts, members.code, { ...members, status }, size);
  }
  const code = CODE_OF_STATUS[status];
  if (code && texts.has(`problem.${code}`)) {
    const known = { title: members.title, detail: wordsOf(type, body), status };
    return problemOfCode(texts, code, known, size);
  }
  const title = sentence(text(members.title));
  return {
    code: code ?? `status-${status}`,
    status,
    title: title || texts.get("problem.status", { status: String(status) }),
    detail: sentence(wordsOf(type, body)),
    todo: texts.get(status >= 500 ? "problem.retry-later" : "problem.tell"),
  };
}

/**
 * The destination refused, and this server passed that on. Its codes are not ours, so the status
 * decides the text; the destination's own text follows.
 * @param {Texts} texts
 * @param {Parameters<typeof problemOfAnswer>[1]} answer
 * @param {any} members its JSON, or {}
 * @param {number} size of the file, in bytes
 * @returns {Problem}
 */
function refusal(texts, { status, type, body, retryAfter }, members, size) {
  const words = wordsOf(type, body);
  const meaning = meaningOf(texts, status, members, size);
  return {
    code: CODE_OF_STATUS[status] ?? `status-${status}`,
    status,
    title: texts.get("refusal", { status: String(status), meaning }),
    detail: words ? texts.get("refusal.words", { words }) : "",
    todo: todoOf(texts, status, retryAfter),
  };
}

/**
 * @param {Texts} texts
 * @param {number} status
 * @param {any} members
 * @param {number} size
 */
function meaningOf(texts, status, members, size) {
  if (status === 413 && typeof members.limit === "number") {
    const limit = texts.bytes(members.limit);
    return texts.get("refusal.413.limit", { size: texts.bytes(size), limit });
  }
  if (texts.has(`refusal.${status}`)) return texts.get(`refusal.${status}`);
  return texts.get(status >= 500 ? "refusal.failed" : "refusal.other");
}

/**
 * @param {Texts} texts
 * @param {number} status
 * @param {string} retryAfter
 */
function todoOf(texts, status, retryAfter) {
  if (/^\d{1,6}$/.test(retryAfter)) {
    return texts.get("refusal.come-back", { time: texts.duration(Number(retryAfter)) });
  }
  if (texts.has(`refusal.${status}.todo`)) return texts.get(`refusal.${status}.todo`);
  const later = status >= 500 && !texts.has(`refusal.${status}`);
  return texts.get(later ? "problem.retry-later" : "problem.tell");
}

/**
 * The texts for one of the server's codes.
 * @param {Texts} texts
 * @param {string} code
 * @param {Record<string, any>} members the problem's members
 * @param {number} size of the file, in bytes
 * @returns {Problem}
 */
export function problemOfCode(texts, code, members, size) {
  const key = `problem.${code}`;
  const known = texts.has(`${key}.todo`);
  /** @type {Problem} */
  const problem = {
    code,
    status: members.status,
    title: known ? texts.get(key) : sentence(text(members.title)) || texts.get("problem.other"),
    detail: sentence(text(members.detail)),
    todo: texts.get(known ? `${key}.todo` : "problem.other.todo"),
  };
  if (code === "too-large" && typeof members.limit === "number") {
    const limit = texts.bytes(members.limit);
    problem.title = texts.get("problem.too-large.limit", { size: texts.bytes(size), limit });
    problem.detail = "";
  }
  // A detail that repeats the title is dropped.
  if (problem.detail === problem.title || members.detail === members.title) problem.detail = "";
  if (!known && problem.detail && !canRetry(problem)) {
    // An app or a hook has said why, and to send it again would not help.
    [problem.todo, problem.detail] = [problem.detail, ""];
  }
  return problem;
}

/**
 * The connection broke, so there is no response.
 * @param {Texts} texts
 * @param {number} arrived bytes of the file known to have left or arrived
 * @param {boolean} wholeBodySent then the file may be stored although the answer was lost
 * @returns {Problem}
 */
export function connectionLost(texts, arrived, wholeBodySent) {
  if (wholeBodySent) return ownProblem(texts, "answer-lost");
  const problem = ownProblem(texts, navigator.onLine === false ? "offline" : "connection-lost");
  if (arrived === 0) return problem;
  const amount = texts.bytes(arrived);
  return { ...problem, title: texts.get("problem.connection-lost.after", { amount }) };
}

/**
 * @param {Texts} texts
 * @returns {Problem}
 */
export function fileGone(texts) {
  return ownProblem(texts, "file-gone");
}

/**
 * A problem that the page found itself.
 * @param {Texts} texts
 * @param {string} code
 * @returns {Problem}
 */
export function ownProblem(texts, code) {
  const [title, todo] = [texts.get(`problem.${code}`), texts.get(`problem.${code}.todo`)];
  return { code, title, detail: "", todo };
}

/** @param {unknown} value */
function text(value) {
  return typeof value === "string" ? value : "";
}

/** @param {string} words */
function sentence(words) {
  return words && !/[.!?…。！？؟]$/.test(words) ? `${words}.` : words;
}
