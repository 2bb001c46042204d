// The list of stored files: what is looked at, its pages, the selection. Knows nothing of uploads.

import { texts } from "../texts/page-texts.js";
import { problemOfAnswer } from "../texts/problems.js";
import { part } from "../uploads/row.js";
import { askForName, askToDelete } from "./dialogs.js";
import {
  askPage,
  deleteFile,
  downloadZip,
  Refusal,
  renameFile,
  withPath,
  zipAddress,
} from "./listing.js";
import { drawCrumbs, fileRow, folderRow } from "./stored-row.js";

/**
 * @typedef {import("./listing.js").StoredFile} StoredFile
 * @typedef {import("./listing.js").Page} Page
 */

const FIRST_PAGE = 50;
// Files that were just uploaded and are not in what is shown, pinned above it.
const MOST_PINNED = 20;
const REFRESH_AFTER_MS = 400;
// A list that took long is asked for less often while uploads end.
const REFRESH_SHARE = 4;
const TYPING_MS = 250;
const DELETIONS_AT_ONCE = 3;

export class StoredFiles {
  /** @type {import("./listing.js").View} */
  #view = { folder: "", search: "", sort: "-modified" };
  /** @type {Page | null} */
  #shown = null;
  /** @type {Map<string, StoredFile>} */
  #recent = new Map();
  /** @type {Map<string, StoredFile>} */
  #picked = new Map();
  /** The files that have a row. @type {StoredFile[]} */
  #files = [];
  /** @type {number | undefined} */
  #timer;
  /** @type {number | undefined} */
  #typing;
  #took = 0;
  #asked = 0;

  /**
   * @param {HTMLElement} section
   * @param {string} endpoint URL that lists
   * @param {{announce: (words: string) => void, busy: () => boolean}} page
   */
  constructor(section, endpoint, { announce, busy }) {
    this.section = section;
    this.endpoint = endpoint;
    this.announce = announce;
    this.busy = busy;
    this.rows = part(section, "#stored-rows");
    this.note = part(section, "#stored-note");
    this.more = part(section, "#more");
    this.zip = /** @type {HTMLAnchorElement} */ (part(section, "#all-zip"));
    this.search = /** @type {HTMLInputElement} */ (part(section, "#search"));
    this.sort = /** @type {HTMLSelectElement} */ (part(section, "#sort"));
    this.all = /** @type {HTMLInputElement} */ (part(section, "#select-all"));
    this.more.addEventListener("click", () => this.#showMore());
    this.sort.addEventListener("change", () => this.#look({ sort: this.sort.value }));
    this.search.addEventListener("input", () => {
      clearTimeout(this.#typing);
      const look = () => this.#look({ search: this.search.value.trim() });
      this.#typing = setTimeout(look, TYPING_MS);
    });
    addEventListener("hashchange", () => this.#followAddress());
    document.addEventListener("visibilitychange", () => !document.hidden && this.refreshSoon());
    this.all.addEventListener("change", () => this.#pickAll(this.all.checked));
    part(section, "#selection-zip").addEventListener("click", () => {
      downloadZip(this.endpoint, [...this.#picked.values()], this.busy());
    });
    part(section, "#selection-delete").addEventListener("click", () => this.#deletePicked());
    part(section, "#selection-clear").addEventListener("click", () => {
      this.#pickAll(false);
      this.search.focus();
    });
    this.search.placeholder = texts.get("list.search");
    this.#view.folder = folderOfAddress();
  }

  /**
   * A file was stored just now: it is shown whatever is looked at.
   * @param {import("../uploads/response.js").Entry} entry
   */
  add(entry) {
    this.#recent.delete(entry.key);
    this.#recent.set(entry.key, withPath(entry));
    const [oldest] = this.#recent.keys();
    if (this.#recent.size > MOST_PINNED) this.#recent.delete(oldest);
    this.refreshSoon();
  }

  /** Ask for the list again soon; uploads that end together ask once. */
  refreshSoon() {
    this.#timer ??= setTimeout(
      () => this.refresh(),
      Math.max(REFRESH_AFTER_MS, REFRESH_SHARE * this.#took),
    );
  }

  /** Ask for all that is shown, and swap it in one step so that nothing jumps. */
  async refresh() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const asked = (this.#asked += 1);
    const began = performance.now();
    const wanted = Math.max(FIRST_PAGE, this.#shown ? countOf(this.#shown) : 0);
    /** @type {Page} */
    let page;
    try {
      page = await askPage(this.endpoint, this.#view, "", wanted, true);
      while (page.next && countOf(page) < wanted) page = await this.#withNext(page, wanted);
    } catch (error) {
      if (asked === this.#asked) this.#say(await wordsOfError(error));
      return;
    }
    this.#took = performance.now() - began;
    // A slower answer to an earlier question must not overwrite a newer one.
    if (asked !== this.#asked) return;
    // Someone who is about to press a button there must not have it swapped away.
    if (this.rows.querySelector(".armed")) return this.refreshSoon();
    this.#draw(page);
  }

  /** @param {Partial<import("./listing.js").View>} change */
  #look(change) {
    this.#view = { ...this.#view, ...change };
    this.#shown = null;
    this.#picked.clear();
    return this.refresh();
  }

  #followAddress() {
    this.search.value = "";
    this.#recent.clear();
    this.#look({ folder: folderOfAddress(), search: "" }).then(() => {
      part(this.section, "h2").focus();
    });
  }

  async #showMore() {
    if (!this.#shown?.next) return;
    const before = this.rows.children.length;
    const asked = (this.#asked += 1);
    try {
      const page = await this.#withNext(this.#shown, countOf(this.#shown));
      if (asked === this.#asked) this.#draw(page);
    } catch (error) {
      this.#say(await wordsOfError(error));
    }
    // The first new row is where the person goes on.
    (this.rows.children[before]?.querySelector("a") ?? part(this.section, "h2")).focus();
  }

  /**
   * @param {Page} page
   * @param {number} count how many more
   * @returns {Promise<Page>}
   */
  async #withNext(page, count) {
    const limit = Math.max(FIRST_PAGE, count);
    const more = await askPage(this.endpoint, this.#view, page.next ?? "", limit, page.sorted);
    return {
      ...more,
      folders: [...page.folders, ...more.folders],
      files: [...page.files, ...more.files],
      omitted: page.omitted + more.omitted,
    };
  }

  /** @param {Page} page */
  #draw(page) {
    this.#shown = page;
    const { folder, search, sort } = this.#view;
    const listed = new Set(page.files.map(({ key }) => key));
    const pinned = [...this.#recent.values()].filter(({ key }) => !listed.has(key)).reverse();
    const rows = [
      ...pinned.map((file) => this.#fileRow(file, "")),
      ...page.folders.map((path) => {
        return folderRow(path, folder, zipAddress(this.endpoint, { ...this.#view, folder: path }));
      }),
      ...page.files.map((file) => this.#fileRow(file, folder)),
    ];
    this.#keepFocus(() => this.rows.replaceChildren(...rows));
    this.#files = [...pinned, ...page.files];
    const keys = new Set(this.#files.map(({ key }) => key));
    for (const key of this.#picked.keys()) if (!keys.has(key)) this.#picked.delete(key);
    this.#drawSelection();
    drawCrumbs(part(this.section, "#crumbs"), folder);
    part(this.section, "#folders-above").hidden = folder === "";
    const some = rows.length > 0;
    part(this.section, "#list-tools").hidden = !page.readable || (!some && !folder && !search);
    this.sort.value = sort;
    this.sort.disabled = this.search.disabled = !page.sorted;
    part(this.section, "#selection").hidden = this.#files.length === 0;
    this.more.hidden = page.next === null;
    this.zip.hidden = countOf(page) < 2 && page.folders.length === 0;
    this.zip.href = zipAddress(this.endpoint, this.#view);
    this.#say(this.#note(page, some));
  }

  /**
   * @param {Page} page
   * @param {boolean} some
   */
  #note(page, some) {
    if (page.omitted) return texts.get("stored.omitted", { count: page.omitted });
    if (!page.sorted) return texts.get("list.too-many");
    if (some) return "";
    if (this.#view.search) return texts.get("list.none-found");
    if (this.#view.folder) return texts.get("list.empty");
    return texts.get(page.readable ? "stored.none" : "stored.elsewhere");
  }

  /**
   * @param {StoredFile} file
   * @param {string} folder
   */
  #fileRow(file, folder) {
    const row = fileRow(file, folder, {
      remove: (element, one) => this.#delete(element, one),
      rename: this.#shown?.renames ? (one) => this.#rename(one) : null,
      pick: (one, picked) => this.#pick(one, picked),
      announce: this.announce,
    });
    part(row, ".new").hidden = !this.#recent.has(file.key);
    /** @type {HTMLInputElement} */ (part(row, ".pick")).checked = this.#picked.has(file.key);
    return row;
  }

  /* ---- the selection ---- */

  /**
   * @param {StoredFile} file
   * @param {boolean} picked
   */
  #pick(file, picked) {
    if (picked) this.#picked.set(file.key, file);
    else this.#picked.delete(file.key);
    this.#drawSelection();
  }

  /** @param {boolean} picked */
  #pickAll(picked) {
    this.#picked = new Map(picked ? this.#files.map((file) => [file.key, file]) : []);
    for (const box of this.rows.querySelectorAll(".pick")) {
      if (box instanceof HTMLInputElement) box.checked = picked;
    }
    this.#drawSelection();
  }

  #drawSelection() {
    const count = this.#picked.size;
    const files = this.#files.length;
    this.all.checked = count > 0 && count >= files;
    this.all.indeterminate = count > 0 && count < files;
    part(this.section, "#selection-count").textContent = count
      ? texts.get("list.selected", { count })
      : texts.get("list.select-all");
    part(this.section, "#selection-buttons").hidden = count === 0;
  }

  async #deletePicked() {
    const files = [...this.#picked.values()];
    const dialog = /** @type {HTMLDialogElement} */ (document.querySelector("#delete-dialog"));
    if (files.length === 0 || !(await askToDelete(dialog, files.length))) return;
    let failed = 0;
    const next = async () => {
      for (let file = files.shift(); file; file = files.shift()) {
        this.#recent.delete(file.key);
        const { key } = file;
        await deleteFile(file).then(() => this.#picked.delete(key), () => (failed += 1));
      }
    };
    const count = files.length;
    await Promise.all(Array.from({ length: DELETIONS_AT_ONCE }, next));
    await this.refresh();
    this.announce(texts.get("delete.done", { count: count - failed }));
    if (failed) this.#say(texts.get("delete.failed", { count: failed }));
    part(this.section, "h2").focus();
  }

  /* ---- one file ---- */

  /**
   * @param {HTMLElement} row
   * @param {StoredFile} file
   */
  async #delete(row, file) {
    const name = file.path.slice(file.path.lastIndexOf("/") + 1);
    try {
      await deleteFile(file);
    } catch (error) {
      const answer = error instanceof Refusal ? error.answer : null;
      const key = answer ? "stored.not-deleted" : "stored.not-deleted-no-answer";
      this.#say(texts.get(key, { name, status: String(answer?.status) }));
      return;
    }
    this.#recent.delete(file.key);
    this.#picked.delete(file.key);
    const neighbour = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (neighbour?.querySelector("button") ?? part(this.section, "h2")).focus();
    this.announce(texts.get("stored.deleted", { name }));
    this.refreshSoon();
  }

  /** @param {StoredFile} file */
  async #rename(file) {
    const dialog = /** @type {HTMLDialogElement} */ (document.querySelector("#rename-dialog"));
    const renamed = await askForName(dialog, file, (path) => {
      return renameFile(this.endpoint, file, path);
    });
    if (!renamed) return;
    this.#recent.delete(file.key);
    this.#recent.set(renamed.key, renamed);
    await this.refresh();
    this.announce(texts.get("rename.done", { path: file.path, name: renamed.path }));
    const row = this.rows.querySelector(`[data-key="${CSS.escape(renamed.key)}"] .rename`);
    if (row instanceof HTMLElement) row.focus();
  }

  /**
   * Run something that replaces the rows, and put the focus back to where it was by position.
   * @param {() => void} swap
   */
  #keepFocus(swap) {
    const focusable = () => {
      const found = this.rows.querySelectorAll("[href], button, .pick");
      return /** @type {HTMLElement[]} */ ([...found]);
    };
    const at = focusable().indexOf(/** @type {HTMLElement} */ (document.activeElement));
    swap();
    if (at >= 0) focusable().at(at)?.focus();
  }

  /** @param {string} words */
  #say(words) {
    this.note.textContent = words;
    this.note.hidden = !words;
  }
}

/** @param {Page} page */
function countOf({ folders, files }) {
  return folders.length + files.length;
}

function folderOfAddress() {
  const folder = new URLSearchParams(location.hash.slice(1)).get("folder") ?? "";
  return folder && !folder.endsWith("/") ? `${folder}/` : folder;
}

/** @param {unknown} error */
async function wordsOfError(error) {
  if (!(error instanceof Refusal)) throw error;
  const { answer } = error;
  if (!answer) return texts.get("stored.no-answer");
  const { status, headers } = answer;
  if (status === 405 || status === 501) return texts.get("stored.not-listed");
  const type = headers.get("Content-Type") ?? "";
  const response = { status, type, body: await answer.text(), passedOn: false, retryAfter: "" };
  const problem = problemOfAnswer(texts, response, 0);
  return texts.get("stored.unreadable", { problem: problem.title });
}
