// The dialogs of the list: a new name for a file, and whether to delete several.

import { texts } from "../texts/page-texts.js";
import { part } from "../uploads/row.js";
import { Refusal } from "./listing.js";

/** @typedef {import("./listing.js").StoredFile} StoredFile */

/**
 * Ask whether to delete so many files.
 * @param {HTMLDialogElement} dialog
 * @param {number} count
 * @returns {Promise<boolean>}
 */
export function askToDelete(dialog, count) {
  part(dialog, "h2").textContent = texts.get("delete.title", { count });
  dialog.returnValue = "";
  dialog.showModal();
  part(dialog, ".cancel").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "delete"), {
      once: true,
    });
  });
}

/**
 * Ask for a new name until it is taken, or the dialog is left.
 * @param {HTMLDialogElement} dialog
 * @param {StoredFile} file
 * @param {(path: string) => Promise<StoredFile>} rename
 * @returns {Promise<StoredFile | null>}
 */
export function askForName(dialog, file, rename) {
  const field = /** @type {HTMLInputElement} */ (part(dialog, "input"));
  const form = /** @type {HTMLFormElement} */ (part(dialog, "form"));
  const note = part(dialog, ".note");
  const say = (/** @type {string} */ words) => {
    note.textContent = words;
    field.toggleAttribute("aria-invalid", Boolean(words));
  };
  field.value = file.path;
  say("");
  dialog.showModal();
  field.focus();
  const [start, dot] = [file.path.lastIndexOf("/") + 1, file.path.lastIndexOf(".")];
  field.setSelectionRange(start, dot > start ? dot : file.path.length);
  return new Promise((resolve) => {
    /** @type {StoredFile | null} */
    let renamed = null;
    // No submit button: Enter in the field would press the first one.
    part(dialog, ".cancel").onclick = () => dialog.close();
    form.onsubmit = async (event) => {
      event.preventDefault();
      const path = field.value.trim();
      if (path === file.path) return dialog.close();
      try {
        renamed = await rename(path);
        dialog.close();
      } catch (error) {
        say(await refusalWords(error));
        field.focus();
      }
    };
    dialog.addEventListener("close", () => resolve(renamed), { once: true });
  });
}

/** @param {unknown} error */
async function refusalWords(error) {
  const status = error instanceof Refusal ? error.answer?.status : undefined;
  if (status === 409) return texts.get("rename.taken");
  if (status === 400) return texts.get("rename.bad");
  if (status === 404 || status === 412) return texts.get("rename.gone");
  return texts.get("rename.failed");
}
