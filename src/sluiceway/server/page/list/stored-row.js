// One file or folder of the list as a row. Decides nothing.

import { copyText } from "../elements/copy-button.js";
import { texts } from "../texts/page-texts.js";
import { ownLink, part, stamp } from "../uploads/row.js";

/** @typedef {import("./listing.js").StoredFile} StoredFile */

// How long a delete button stays armed.
const ARMED_MS = 4000;

/**
 * @typedef {object} RowActions
 * @property {(row: HTMLElement, file: StoredFile) => void} remove
 * @property {((file: StoredFile) => void) | null} rename null where the store cannot
 * @property {(file: StoredFile, picked: boolean) => void} pick
 * @property {(words: string) => void} announce
 */

/**
 * @param {StoredFile} file
 * @param {string} folder the folder that is looked at: it is not repeated in front of the name
 * @param {RowActions} actions
 * @returns {HTMLElement}
 */
export function fileRow(file, folder, actions) {
  const row = stamp("stored-template");
  const shown = file.path.startsWith(folder) ? file.path.slice(folder.length) : file.path;
  const at = shown.lastIndexOf("/") + 1;
  part(row, ".folder").textContent = shown.slice(0, at);
  part(row, ".name").textContent = shown.slice(at);
  row.dataset.key = file.key;
  linkTo(/** @type {HTMLAnchorElement} */ (part(row, ".link")), file);
  part(row, ".size").textContent = texts.bytes(file.size);
  const time = /** @type {HTMLTimeElement} */ (part(row, ".date"));
  time.textContent = file.modified ? texts.moment(file.modified) : "";
  time.dateTime = file.modified ?? "";
  if (file.expires) {
    time.textContent += " \u23f3"; // an hourglass
    time.title = texts.get("list.until", { moment: texts.moment(file.expires) });
  }
  const { path } = file;
  const picked = /** @type {HTMLInputElement} */ (part(row, ".pick"));
  picked.setAttribute("aria-label", texts.get("list.select", { path }));
  picked.addEventListener("change", () => actions.pick(file, picked.checked));
  const save = /** @type {HTMLAnchorElement} */ (part(row, ".save"));
  save.href = ownLink(file.url);
  name(save, texts.get("list.download", { path }));
  linkCopier(part(row, ".copy-link"), file, actions);
  const rename = part(row, ".rename");
  rename.hidden = actions.rename === null;
  name(rename, texts.get("list.rename-path", { path }));
  rename.addEventListener("click", () => actions.rename?.(file));
  armedButton(part(row, ".delete"), path, actions.announce, () => actions.remove(row, file));
  return row;
}

/**
 * What a browser can show opens in a tab; the rest is downloaded.
 * @param {HTMLAnchorElement} link
 * @param {StoredFile} file
 */
function linkTo(link, file) {
  const address = ownLink(file.url);
  if (!address) return;
  link.title = file.path;
  if (file.viewable === false) {
    link.href = address;
    link.download = "";
    return;
  }
  link.href = `${address}?view=1`;
  link.target = "_blank";
}

/**
 * @param {string} path of a folder
 * @param {string} folder the one that is looked at
 * @param {string} zip address of a zip of it
 * @returns {HTMLElement}
 */
export function folderRow(path, folder, zip) {
  const row = stamp("folder-template");
  const link = /** @type {HTMLAnchorElement} */ (part(row, ".link"));
  link.href = folderAddress(path);
  link.title = path;
  link.setAttribute("aria-label", texts.get("list.open-folder", { path }));
  part(row, ".name").textContent = path.slice(folder.length, -1);
  const save = /** @type {HTMLAnchorElement} */ (part(row, ".save"));
  save.href = zip;
  name(save, texts.get("list.download", { path }));
  return row;
}

/** @param {string} path of a folder */
export function folderAddress(path) {
  return `#${new URLSearchParams({ folder: path })}`;
}

/**
 * The links of a folder and of those around it.
 * @param {HTMLElement} list
 * @param {string} folder
 */
export function drawCrumbs(list, folder) {
  const names = folder.split("/").slice(0, -1);
  const paths = names.map((_, at) => `${names.slice(0, at + 1).join("/")}/`);
  const all = [["", texts.get("list.all")], ...paths.map((path, at) => [path, names[at]])];
  list.replaceChildren(...all.map(([path, words]) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = folderAddress(path);
    const shown = document.createElement("bdi");
    shown.textContent = words;
    link.append(shown);
    if (path === folder) link.setAttribute("aria-current", "page");
    item.append(link);
    return item;
  }));
}

/**
 * @param {HTMLElement} button
 * @param {StoredFile} file
 * @param {RowActions} actions
 */
function linkCopier(button, file, { announce }) {
  const label = texts.get("list.copy-link", { path: file.path });
  const address = ownLink(file.url);
  name(button, label);
  button.addEventListener("click", async () => {
    const done = await copyText(file.viewable ? `${address}?view=1` : address);
    const words = texts.get(done ? "list.link-copied" : "copy.by-keys");
    button.classList.add("told");
    name(button, words);
    announce(words);
    setTimeout(() => {
      button.classList.remove("told");
      name(button, label);
    }, 1600);
  });
}

/**
 * Deleting takes two presses: the first arms the button, and says so.
 * @param {HTMLElement} button
 * @param {string} path
 * @param {(words: string) => void} announce
 * @param {() => void} run
 */
function armedButton(button, path, announce, run) {
  const arm = (/** @type {boolean} */ on) => {
    button.classList.toggle("armed", on);
    part(button, ".words").textContent = texts.get(on ? "stored.delete-sure" : "stored.delete");
    name(button, texts.get(on ? "stored.delete-sure-path" : "stored.delete-path", { path }));
  };
  arm(false);
  button.addEventListener("blur", () => arm(false));
  button.addEventListener("keydown", (event) => event.key === "Escape" && arm(false));
  button.addEventListener("click", () => {
    if (button.classList.contains("armed")) {
      arm(false);
      run();
      return;
    }
    arm(true);
    announce(texts.get("stored.press-again", { path }));
    setTimeout(() => arm(false), ARMED_MS);
  });
}

/**
 * @param {HTMLElement} element
 * @param {string} label for screen readers, and shown when a pointer rests on it
 */
function name(element, label) {
  element.setAttribute("aria-label", label);
  element.title = label;
}
