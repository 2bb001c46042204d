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
const VALUES = /** @type {Record<string, string>} */ ({
  keys: KEYS,
  curl: "-u :TOKEN",
  python: 'auth=("", "TOKEN")',
});

/** @param {Document | DocumentFragment} within */
function fill(within) {
  for (const element of within.querySelectorAll("[data-text], [data-label]")) {
    const { text, label } = /** @type {HTMLElement} */ (element).dataset;
    if (text) element.textContent = texts.get(text, VALUES);
    if (label) element.setAttribute("aria-label", texts.get(label, VALUES));
  }
}

fill(document);
for (const template of document.querySelectorAll("template")) fill(template.content);
