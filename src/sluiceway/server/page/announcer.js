// What screen readers announce: when an upload begins and how it ends, never each percent.

import { texts } from "./texts/page-texts.js";

/** @typedef {import("./uploads/upload.js").Upload} Upload */

// Screen readers skip text that is replaced too fast, so sentences of one moment are joined.
const GATHER_MS = 700;
// More files than this in one moment are counted, not named.
const LISTED = 3;

export class Announcer {
  /** @type {string[]} */
  #words = [];
  /** @type {string[]} */
  #stored = [];
  /** @type {Upload[]} */
  #sending = [];
  /** @type {WeakMap<Upload, string>} */
  #last = new WeakMap();
  /** @type {number | undefined} */
  #timer;

  /** @param {HTMLElement} region a polite live region */
  constructor(region) {
    this.region = region;
  }

  /** @param {string} words */
  say(words) {
    this.#words.push(words);
    this.#soon();
  }

  /**
   * Announce a text and show it too: for events without a row.
   * @param {string} words
   */
  show(words) {
    this.region.classList.add("seen");
    setTimeout(() => this.region.classList.remove("seen"), 8000);
    this.say(words);
  }

  /**
   * Announce when an upload begins and how it ends.
   * @param {Upload} upload
   */
  follow(upload) {
    if (this.#last.get(upload) === upload.state) return;
    this.#last.set(upload, upload.state);
    if (upload.state === "sending") this.#sending.push(upload);
    else if (upload.state === "done") this.#stored.push(upload.path);
    else if (upload.state === "interrupted") {
      this.#words.push(texts.get("announce.interrupted", { path: upload.path }));
    } else if (upload.state === "paused") {
      this.#words.push(texts.get("announce.paused", { path: upload.path }));
    } else if (upload.state === "failed") this.#words.push(failedWords(upload));
    else if (upload.state === "cancelled") {
      this.#words.push(texts.get("announce.cancelled", { path: upload.path }));
    }
    this.#soon();
  }

  #soon() {
    this.#timer ??= setTimeout(() => this.#speak(), GATHER_MS);
  }

  #speak() {
    this.#timer = undefined;
    // Of an upload that began and ended in one moment only the end is announced.
    const sending = this.#sending.filter((upload) => !upload.ended).map(({ path }) => path);
    const words = [
      ...this.#words,
      ...listed(sending, "announce.sending", "announce.sending-count"),
      ...listed(this.#stored, "announce.stored", "queue.stored"),
    ];
    this.#words = [];
    this.#stored = [];
    this.#sending = [];
    if (words.length === 0) return;
    this.region.textContent = words.map((sentence) => sentence.replace(/[.。]$/, "")).join(". ");
  }
}

/** @param {Upload} upload */
function failedWords({ path, problem }) {
  const words = problem ? `${problem.title} ${problem.todo}` : "";
  return texts.get("announce.failed", { path, problem: words });
}

/**
 * @param {string[]} names
 * @param {string} named key of the text with {names}
 * @param {string} counted key of the text with {count}
 */
function listed(names, named, counted) {
  const count = names.length;
  if (count === 0) return [];
  if (count > LISTED) return [texts.get(counted, { count })];
  return [texts.get(named, { names: names.join(", ") })];
}
