// The list of stored files: show, open, delete. Knows nothing of uploads.

import { texts } from "./texts/page-texts.js";
import { problemOfAnswer } from "./texts/problems.js";
import { ownLink, part, stamp } from "./uploads/row.js";

/** @typedef {import("./uploads/response.js").Entry} Entry */

const PAGE = 50;
// Several uploads that end together ask once.
const REFRESH_AFTER_MS = 400;
// How long a delete button stays armed.
const ARMED_MS = 4000;

export class StoredFiles {
  #pages = 1;
  /** @type {number | undefined} */
  #timer;
  #asked = 0;

  /**
   * @param {HTMLElement} section
   * @param {string} endpoint URL that lists
   * @param {(words: string) => void} announce
   */
  constructor(section, endpoint, announce) {
    this.section = section;
    this.endpoint = endpoint;
    this.announce = announce;
    this.rows = part(section, "#stored-rows");
    this.note = part(section, "#stored-note");
    this.more = part(section, "#more");
    this.zip = /** @type {HTMLAnchorElement} */ (part(section, "#all-zip"));
    const all = new URL(endpoint);
    all.searchParams.set("as", "zip");
    this.zip.href = all.href;
    this.more.addEventListener("click", () => this.#showMore());
  }

  /** Ask for the list again soon. */
  refreshSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh(), REFRESH_AFTER_MS);
  }

  /** Ask for all pages that are shown, and swap them in one step so that nothing jumps. */
  async refresh() {
    const asked = (this.#asked += 1);
    /** @type {Entry[]} */
    const entries = [];
    let next = null;
    let readable = true;
    let omitted = 0;
    try {
      for (let page = 0; page < this.#pages && (page === 0 || next); page += 1) {
        const answer = await this.#ask(next);
        entries.push(...answer.files);
        readable = answer.readable !== false;
        omitted += answer.omitted?.length ?? 0;
        next = answer.next;
      }
    } catch (error) {
      if (asked === this.#asked) this.#say(error instanceof Error ? error.message : String(error));
      return;
    }
    // A slower answer to an earlier question must not overwrite a newer one.
    if (asked !== this.#asked) return;
    // Someone who is about to press a button there must not have it swapped away.
    if (this.rows.querySelector(".armed")) return this.refreshSoon();
    // The server lists by key. Newest first is what people look for, and is only known of the whole list.
    if (next === null) entries.sort((one, other) => (other.modified ?? "").localeCompare(one.modified ?? ""));
    this.#keepFocus(() => this.rows.replaceChildren(...entries.map((entry) => this.#row(entry))));
    this.more.hidden = next === null;
    this.zip.hidden = entries.length < 2;
    if (omitted) this.#say(texts.get("stored.omitted", { count: omitted }));
    else if (entries.length) this.#say("");
    else this.#say(texts.get(readable ? "stored.none" : "stored.elsewhere"));
  }

  async #showMore() {
    const before = this.rows.children.length;
    this.#pages += 1;
    await this.refresh();
    // The first new line is where the person goes on; the whole list is sorted anew, so there it starts from the top.
    const next = this.more.hidden ? null : this.rows.children[before]?.querySelector("a");
    (next ?? part(this.section, "h2")).focus();
  }

  /**
   * @param {string | null} after
   * @returns {Promise<{files: Entry[], next: string | null, readable?: boolean, omitted?: object[]}>}
   */
  async #ask(after) {
    const url = new URL(this.endpoint);
    url.searchParams.set("limit", String(PAGE));
    if (after !== null) url.searchParams.set("after", after);
    /** @type {Response} */
    let answer;
    try {
      answer = await fetch(url, { cache: "no-store", headers: { Accept: "application/json" } });
    } catch {
      throw new Error(texts.get("stored.no-answer"));
    }
    if (answer.ok) return answer.json();
    if (answer.status === 405 || answer.status === 501) {
      throw new Error(texts.get("stored.not-listed"));
    }
    const { status, headers } = answer;
    const response = { status, type: headers.get("Content-Type") ?? "", body: await answer.text(), passedOn: false, retryAfter: "" };
    const problem = problemOfAnswer(texts, response, 0);
    throw new Error(texts.get("stored.unreadable", { problem: problem.title }));
  }

  /** @param {Entry} entry */
  #row(entry) {
    const row = stamp("stored-template");
    const link = /** @type {HTMLAnchorElement} */ (part(row, ".link"));
    part(row, ".folder").textContent = foldersOf(entry);
    part(row, ".name").textContent = entry.filename;
    link.title = entry.key;
    const address = ownLink(entry.url);
    if (address) link.href = address;
    part(row, ".size").textContent = texts.bytes(entry.size);
    const time = /** @type {HTMLTimeElement} */ (part(row, ".date"));
    time.textContent = entry.modified ? texts.moment(entry.modified) : "";
    time.dateTime = entry.modified ?? "";
    this.#deleteButton(part(row, ".delete"), row, entry, address);
    return row;
  }

  /**
   * Deleting takes two presses: the first arms the button, and says so.
   * @param {HTMLElement} button
   * @param {HTMLElement} row
   * @param {Entry} entry
   * @param {string} address
   */
  #deleteButton(button, row, entry, address) {
    const path = foldersOf(entry) + entry.filename;
    const arm = (/** @type {boolean} */ on) => {
      button.classList.toggle("armed", on);
      button.textContent = texts.get(on ? "stored.delete-sure" : "stored.delete");
      const label = on ? "stored.delete-sure-path" : "stored.delete-path";
      button.setAttribute("aria-label", texts.get(label, { path }));
    };
    arm(false);
    button.addEventListener("blur", () => arm(false));
    button.addEventListener("keydown", (event) => event.key === "Escape" && arm(false));
    button.addEventListener("click", () => {
      if (button.classList.contains("armed")) {
        arm(false);
        this.#delete(row, entry, address);
        return;
      }
      arm(true);
      this.announce(texts.get("stored.press-again", { path }));
      setTimeout(() => arm(false), ARMED_MS);
    });
  }

  /**
   * @param {HTMLElement} row
   * @param {Entry} entry
   * @param {string} address
   */
  async #delete(row, entry, address) {
    const answer = await fetch(address, { method: "DELETE" }).catch(() => null);
    // Gone already is what was wanted.
    if (!answer || (!answer.ok && answer.status !== 404)) {
      const key = answer ? "stored.not-deleted" : "stored.not-deleted-no-answer";
      this.#say(texts.get(key, { name: entry.filename, status: String(answer?.status) }));
      return;
    }
    const neighbour = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (neighbour?.querySelector("button") ?? part(this.section, "h2")).focus();
    this.announce(texts.get("stored.deleted", { name: entry.filename }));
    this.refreshSoon();
  }

  /**
   * Run something that replaces the rows, and put the focus back to where it was by position.
   * @param {() => void} swap
   */
  #keepFocus(swap) {
    const focusable = () => /** @type {HTMLElement[]} */ ([...this.rows.querySelectorAll("a, button")]);
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

// The first segment of a key that the server made: 25 letters and digits that mean nothing to people.
const MADE_ID = /^[0-9a-z]{25}\//;

/**
 * The folders of a key, as they are shown in front of the file's name.
 * @param {Entry} entry
 */
function foldersOf(entry) {
  const key = entry.key.replace(MADE_ID, "");
  return key.slice(0, key.lastIndexOf("/") + 1);
}
