// The page's own language: the address (?lang=de), then the operator's setting, then the browser.
// Fills the elements that name an entry: data-text for the text, data-label for the label.

import { loadTexts } from "./texts.js";

const root = document.documentElement;
const asked = new URLSearchParams(location.search).get("lang");

const common = await loadTexts([asked, root.dataset.language, ...navigator.languages]);
// <sluice-drop> has no list and no view of what runs, and loads neither. The page says which it is.
const { default: more } = root.dataset.texts === "live"
  ? await import(`./languages/live/${common.language}.js`)
  : await import(`./languages/list/${common.language}.js`);

export const texts = common.with(more);

root.lang = texts.language;
root.dir = texts.direction;

const KEYS = /\bmac/i.test(navigator.userAgent) ? "⌘ V" : texts.get("keys.paste");
// Code stands in elements of its own: it reads from left to right in every language.
const CURL = "\u0001";
const PYTHON = "\u0002";
const CODE = /** @type {Record<string, string>} */ ({
  [CURL]: "-u :TOKEN",
  [PYTHON]: 'auth=("", "TOKEN")',
});
const VALUES = /** @type {Record<string, string>} */ ({ keys: KEYS, curl: CURL, python: PYTHON });

/** @param {Document | DocumentFragment} within */
function fill(within) {
  for (const element of within.querySelectorAll("[data-text], [data-label]")) {
    const { text, label } = /** @type {HTMLElement} */ (element).dataset;
    if (text) element.replaceChildren(...pieces(texts.get(text, VALUES)));
    if (label) element.setAttribute("aria-label", texts.get(label, VALUES));
  }
}

/** @param {string} text */
function pieces(text) {
  return text.split(/([\u0001\u0002])/).filter(Boolean).map((piece) => {
    if (!CODE[piece]) return piece;
    const code = document.createElement("code");
    code.dir = "ltr";
    code.className = "whole";
    code.textContent = CODE[piece];
    return code;
  });
}

fill(document);
for (const template of document.querySelectorAll("template")) fill(template.content);
