// What a strange body says, as one line of plain words. The body may be anything: JSON of any shape, text, a whole HTML page.

// A refusal's reason is a sentence; what is longer is a log, a page or a stack trace.
const MOST = 300;
// Members in which APIs put the reason, best first (RFC 9457 calls it detail).
const REASONS = ["detail", "message", "error_description", "error", "reason", "title", "msg", "errors"];
const DEPTH = 3;
// Control characters, and those that turn the direction of the text around them.
const UNSEEMLY = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069\s]+/gu;

/**
 * The words of a body, or "" when it has none for people.
 * @param {string} type its Content-Type
 * @param {string} body
 */
export function wordsOf(type, body) {
  const kind = type.split(";")[0].trim().toLowerCase();
  if (kind.endsWith("json")) return line(reason(parsed(body), DEPTH));
  if (kind.includes("html") || kind.includes("xml") || /^\s*</.test(body)) return line(heading(body));
  return kind.startsWith("text/") || kind === "" ? line(body) : "";
}

/** @param {string} json */
export function parsed(json) {
  try {
    return /** @type {unknown} */ (JSON.parse(json));
  } catch {
    return null;
  }
}

/**
 * The reason in a parsed answer: itself, a member that names it, or those of a list.
 * @param {any} said
 * @param {number} depth
 * @returns {string}
 */
function reason(said, depth) {
  if (typeof said === "string") return said;
  if (depth === 0 || typeof said !== "object" || said === null) return "";
  if (Array.isArray(said)) return said.slice(0, 3).map((one) => reason(one, depth - 1)).filter(Boolean).join("; ");
  for (const name of REASONS) {
    const words = reason(said[name], depth - 1);
    if (words) return words;
  }
  return "";
}

/**
 * A page's heading, as text: parsed as a document that runs nothing and loads nothing.
 * @param {string} html
 */
function heading(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const words = page.querySelector("h1")?.textContent || page.title;
  // "413 Request Entity Too Large" says what the status says.
  return /^\s*\d{3}\b/.test(words) ? "" : words;
}

/** @param {string} words */
function line(words) {
  const one = words.slice(0, 4 * MOST).replace(UNSEEMLY, " ").trim();
  return one.length > MOST ? `${one.slice(0, MOST - 1)}…` : one;
}
