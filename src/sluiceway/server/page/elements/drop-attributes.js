// What the attributes of <sluice-drop> say: where and how files are sent, and which are taken.

import { progress } from "../uploads/place.js";

/** @typedef {import("../texts/texts.js").Texts} Texts */

const ENDPOINT = new URL("../../files", import.meta.url).href;
const PARALLEL = 2;
const MOST_PARALLEL = 100;
// Browsers open six to a server; the progress and the page itself need some.
const MOST_CONNECTIONS = 4;

/**
 * Where and how the files of an element are sent.
 * @param {HTMLElement} element
 * @param {Texts} texts
 * @returns {import("../uploads/target.js").UploadTarget}
 */
export function targetOf(element, texts) {
  // A signed link is the address of a server of its own.
  const link = element.getAttribute("link")?.replace(/\/*$/, "/files");
  const endpoint = absolute(link ?? element.getAttribute("endpoint") ?? ENDPOINT);
  const uploads = element.getAttribute("uploads");
  // An app that serves this module may have the progress in one place for all its endpoints.
  const beside = progress ?? new URL("uploads", endpoint).href;
  const data = [...element.attributes].filter(({ name }) => name.startsWith("data-"));
  return {
    endpoint,
    uploads: uploads === null ? beside : absolute(uploads),
    texts,
    token: element.getAttribute("token") ?? undefined,
    connections: connectionsOf(element.getAttribute("connections")),
    fileField: element.getAttribute("file-field") ?? undefined,
    fields: data.map(({ name, value }) => [name.slice(5), value]),
  };
}

/**
 * The first origin of a target that would be sent the token and may not be; null if there is none.
 * @param {HTMLElement} element
 * @param {import("../uploads/target.js").UploadTarget} target
 * @returns {string | null}
 */
export function tokenElsewhere(element, { endpoint, uploads, token }) {
  if (token === undefined) return null;
  const listed = (element.getAttribute("token-origins") ?? "").split(/\s+/).filter(Boolean);
  const own = [location.origin, originOf(import.meta.url)];
  const trusted = new Set([...own, ...listed.map(originOf)]);
  return [endpoint, uploads].map(originOf).find((origin) => !trusted.has(origin)) ?? null;
}

/**
 * How many connections may send one large file; 0: as many as are faster.
 * @param {string | null | undefined} asked
 */
export function connectionsOf(asked) {
  return Math.max(0, Math.min(MOST_CONNECTIONS, Number.parseInt(asked ?? "", 10) || 0));
}

/** @param {HTMLElement} element */
export function parallelOf(element) {
  const asked = Number.parseInt(element.getAttribute("max-parallel") ?? "", 10) || PARALLEL;
  return Math.max(1, Math.min(MOST_PARALLEL, asked));
}

/**
 * Whether `accept` lets a file in. A chooser knows the attribute itself, a drop does not.
 * @param {string | null} accept as of <input type="file">
 * @param {File} file
 */
export function isAccepted(accept, file) {
  const kinds = (accept ?? "").split(",").map((kind) => kind.trim().toLowerCase()).filter(Boolean);
  const [name, type] = [file.name.toLowerCase(), file.type.toLowerCase()];
  return kinds.length === 0 || kinds.some((kind) => {
    if (kind.startsWith(".")) return name.endsWith(kind);
    return kind.endsWith("/*") ? type.startsWith(kind.slice(0, -1)) : type === kind;
  });
}

/**
 * The languages for an element: that of the part of the page it stands in, then the browser's.
 * @param {Element} element
 */
export function languagesOf(element) {
  /** @type {Element | null} */
  let at = element;
  while (at) {
    const named = at.closest("[lang]");
    if (named) return [named.getAttribute("lang"), ...navigator.languages];
    const root = at.getRootNode();
    at = root instanceof ShadowRoot ? root.host : null;
  }
  return navigator.languages;
}

/** @param {string} url */
function absolute(url) {
  return new URL(url, document.baseURI).href;
}

/** @param {string} url */
function originOf(url) {
  return new URL(url, document.baseURI).origin;
}
