// Buttons that copy text. Knows nothing of what the text is.

const SHOWN_MS = 1600;

/**
 * @param {HTMLElement} button
 * @param {() => string} text
 * @param {string} what for ears: what is copied
 */
export function copyButton(button, text, what) {
  const label = button.textContent ?? "";
  button.setAttribute("aria-label", `${label} ${what}`);
  button.addEventListener("click", async () => {
    const done = await copy(text());
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    button.setAttribute("aria-label", done ? `Copied ${what}` : "Press Ctrl+C to copy");
    setTimeout(() => {
      button.textContent = label;
      button.setAttribute("aria-label", `${label} ${what}`);
    }, SHOWN_MS);
  });
}

/** @param {string} text */
async function copy(text) {
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
