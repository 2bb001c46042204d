// Buttons that copy text. Knows nothing of what the text is.

import { texts } from "../texts/page-texts.js";

const SHOWN_MS = 1600;

/**
 * @param {HTMLElement} button
 * @param {() => string} text
 * @param {() => string} label for screen readers: what is copied
 */
export function copyButton(button, text, label) {
  const shown = button.textContent;
  button.setAttribute("aria-label", label());
  button.addEventListener("click", async () => {
    const done = await copyText(text());
    button.textContent = texts.get(done ? "copy.done" : "copy.by-keys");
    button.setAttribute("aria-label", `${button.textContent}: ${label()}`);
    setTimeout(() => {
      button.textContent = shown;
      button.setAttribute("aria-label", label());
    }, SHOWN_MS);
  });
}

/**
 * Put a text on the clipboard. Returns whether that succeeded.
 * @param {string} text
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain HTTP on a network address has no clipboard interface, and a person may have refused it.
    return copyBySelection(text);
  }
}

/** @param {string} text */
function copyBySelection(text) {
  const focused = document.activeElement;
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  field.readOnly = true;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return done;
}
