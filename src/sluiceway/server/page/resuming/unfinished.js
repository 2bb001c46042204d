// The list of uploads that an earlier page left unfinished: the same file chosen again goes on.

import { bookmarks, forgetBookmark, keepBookmark } from "./bookmarks.js";
import { endUpload, findOffset } from "./protocol.js";
import { endPart, TUS } from "./tus-parts.js";
import { heldElsewhere, isHeldHere } from "./tabs.js";
import { texts } from "../texts/page-texts.js";
import { percentUnderWay } from "../texts/texts.js";
import { part, stamp } from "../uploads/row.js";

/** @typedef {import("./bookmarks.js").Bookmark} Bookmark */

export class UnfinishedUploads {
  /** What no tab sends now. @type {Bookmark[]} */
  #shown = [];
  /** Which one the open chooser is for. @type {Bookmark | null} */
  #chosen = null;

  /**
   * @param {HTMLElement} section
   * @param {string} endpoint of this page: uploads to other places are not listed
   * @param {object} actions
   * @param {(file: File, path: string) => void} actions.take
   * @param {(bookmark: Bookmark) => boolean} actions.isTaken whether this page is about to go on
   * @param {(words: string) => void} actions.announce
   */
  constructor(section, endpoint, actions) {
    this.section = section;
    this.endpoint = endpoint;
    this.actions = actions;
    this.list = part(section, "ul");
    this.chooser = /** @type {HTMLInputElement} */ (part(section, "input"));
    this.chooser.addEventListener("change", () => this.#take());
    addEventListener("storage", () => this.refresh());
  }

  /** Ask the server how far they are: what it has forgotten or finished goes from the list. */
  async ask() {
    for (const bookmark of await this.#resting()) await this.#check(bookmark);
    await this.refresh();
  }

  /** Show what no tab sends now. */
  async refresh() {
    this.#shown = await this.#resting();
    this.#draw();
  }

  async #resting() {
    const own = bookmarks().filter((one) => (
      one.endpoint === this.endpoint && !this.actions.isTaken(one)
    ));
    const elsewhere = await heldElsewhere(own.map(({ url }) => url));
    // One may have been taken up while the other tabs were asked.
    return own.filter((one) => !elsewhere.has(one.url) && !this.actions.isTaken(one));
  }

  /** @param {Bookmark} bookmark */
  async #check(bookmark) {
    const { url } = bookmark;
    const reply = await findOffset(url, {}, new AbortController().signal).catch(() => null);
    if (!reply || isHeldHere(url)) return;
    const { complete, status, offset, age } = reply;
    if (complete || status === 404 || status === 410) forgetBookmark(url);
    else if (offset !== null) {
      const beside = await this.#keptOf(bookmark.parts ?? []);
      if (!isHeldHere(url)) keepBookmark({ ...bookmark, offset: offset + beside }, age);
    }
  }

  /** @param {import("./part-requests.js").Part[]} parts */
  async #keptOf(parts) {
    const { signal } = new AbortController();
    const made = parts.filter(({ url }) => url);
    const replies = made.map(({ url }) => findOffset(url, TUS, signal).catch(() => null));
    return (await Promise.all(replies)).reduce((sum, reply) => sum + (reply?.offset ?? 0), 0);
  }

  /** Files have been chosen: what goes on with one of them has a row of its own already. */
  hideTaken() {
    this.#shown = this.#shown.filter((one) => !this.actions.isTaken(one));
    this.#draw();
  }

  #draw() {
    this.section.hidden = this.#shown.length === 0;
    const focused = this.list.contains(document.activeElement);
    this.list.replaceChildren(...this.#shown.map((bookmark) => this.#row(bookmark)));
    if (focused) this.list.querySelector("button")?.focus();
  }

  /** @param {Bookmark} bookmark */
  #row(bookmark) {
    const { path, size, offset, expires } = bookmark;
    const row = stamp("unfinished-template");
    const percent = percentUnderWay(offset, size);
    part(row, ".name").textContent = path;
    part(row, ".name").title = path;
    part(row, ".size").textContent = texts.bytes(size);
    const bar = part(row, ".bar");
    bar.setAttribute("aria-label", texts.get("unfinished.bar", { path }));
    bar.setAttribute("aria-valuenow", String(percent));
    part(bar, ".kept").style.inlineSize = `${percent}%`;
    part(row, ".percent").textContent = texts.percent(percent);
    const moment = texts.moment(new Date(expires).toISOString());
    part(row, ".status").textContent = [
      texts.get("unfinished.kept", { part: texts.bytes(offset), whole: texts.bytes(size) }),
      texts.get("unfinished.until", { moment }),
    ].join(" · ");
    const actions = { choose: () => this.#choose(bookmark), remove: () => this.#remove(bookmark) };
    for (const [action, run] of Object.entries(actions)) {
      const button = part(row, `.${action}`);
      button.addEventListener("click", run);
      button.setAttribute("aria-label", texts.get(`unfinished.${action}-path`, { path }));
    }
    return row;
  }

  /** @param {Bookmark} bookmark */
  #choose(bookmark) {
    this.#chosen = bookmark;
    this.chooser.click();
  }

  #take() {
    const [file] = this.chooser.files ?? [];
    const wanted = this.#chosen;
    if (!file || !wanted) return;
    const isSame = file.size === wanted.size && file.lastModified === wanted.modified
      && file.name === wanted.path.split("/").at(-1);
    if (!isSame) this.actions.announce(texts.get("unfinished.other", { path: file.name }));
    // Alone it has no folders, and is the same file all the same.
    this.actions.take(file, isSame ? wanted.path : file.name);
    this.chooser.value = "";
  }

  /** @param {Bookmark} bookmark */
  async #remove({ url, path, parts = [] }) {
    forgetBookmark(url);
    this.actions.announce(texts.get("unfinished.removed", { path }));
    for (const part of parts) if (part.url) endPart(part.url, {});
    await Promise.all([endUpload(url, {}), this.refresh()]);
  }
}
