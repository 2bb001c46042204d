// The text for people in another server's response: one line, from JSON of any shape, text or HTML.

// Characters. A refusal's reason is a sentence; a longer text is a log, a page or a stack trace.
const MOST = 300;
// Members that hold the reason in common APIs, best first (RFC 9457 calls it detail).
const REASONS = [
  "detail", "message", "error_description", "error", "reason", "title", "msg", "errors",
];
const DEPTH = 3;
// Control characters, and characters that change the direction of text.
const CONTROLS = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069\s]+/gu;

/**
 * The text of a body for people, or "".
 * @param {string} type its Content-Type
 * @param {string} body
 */
export function wordsOf(type, body) {
  const kind = type.split(";")[0].trim().toLowerCase();
  if (kind.endsWith("json")) return oneLine(reason(parsed(body), DEPTH));
  const markup = kind.includes("html") || kind.includes("xml") || /^\s*</.test(body);
  if (markup) return oneLine(heading(body));
  return kind.startsWith("text/") || kind === "" ? oneLine(body) : "";
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
 * The reason in parsed JSON: the value itself, a member that holds it, or those of a list.
 * @param {any} content
 * @param {number} depth
 * @returns {string}
 */
function reason(content, depth) {
  if (typeof content === "string") return content;
  if (depth === 0 || typeof content !== "object" || content === null) return "";
  if (Array.isArray(content)) {
    const reasons = content.slice(0, 3).map((one) => reason(one, depth - 1));
    return reasons.filter(Boolean).join("; ");
  }
  for (const name of REASONS) {
    const words = reason(content[name], depth - 1);
    if (words) return words;
  }
  return "";
}

/**
 * A page's heading as text. The parser runs nothing and loads nothing.
 * @param {string} html
 */
function heading(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const words = page.querySelector("h1")?.textContent || page.title;
  // "413 Request Entity Too Large" only repeats the status.
  return /^\s*\d{3}\b/.test(words) ? "" : words;
}

/** @param {string} words */
function oneLine(words) {
  const one = words.slice(0, 4 * MOST).replace(CONTROLS, " ").trim();
  return one.length > MOST ? `${one.slice(0, MOST - 1)}…` : one;
}
