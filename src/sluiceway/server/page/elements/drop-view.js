// What <sluice-drop> shows below and over its content. Decides nothing.

import { dress } from "./drop-style.js";
import { shareOf, statusWords } from "../texts/upload-status.js";

/** @typedef {import("../uploads/queue.js").Queue} Queue */
/** @typedef {import("../texts/texts.js").Texts} Texts */

export class DropView {
  /**
   * @param {ShadowRoot} root
   * @param {Texts} texts
   * @param {{choose: () => void, retry: () => void, cancel: () => void}} actions
   */
  constructor(root, texts, actions) {
    this.texts = texts;
    dress(root);
    root.append(document.createElement("slot"));
    this.veil = make("div", "over", root);
    this.line = make("div", "line", root);
    this.bar = make("div", "bar", this.line);
    this.arrived = make("span", "arrived", this.bar);
    this.kept = make("span", "kept", this.bar);
    this.status = make("p", "status", this.line);
    this.spoken = make("span", "unseen", this.line);
    this.choose = button("choose", texts.get("drop.add-file"), this.line, actions.choose);
    this.retry = button("retry", texts.get("upload.retry"), this.line, actions.retry);
    this.cancel = button("cancel", texts.get("upload.cancel"), this.line, actions.cancel);

    this.veil.hidden = this.bar.hidden = this.retry.hidden = this.cancel.hidden = true;
    this.spoken.setAttribute("role", "status");
    this.bar.setAttribute("role", "progressbar");
    this.bar.setAttribute("aria-label", texts.get("drop.bar"));
    this.bar.setAttribute("aria-valuemin", "0");
    this.bar.setAttribute("aria-valuemax", "100");
  }

  /** @param {string} words */
  label(words) {
    this.choose.textContent = words;
  }

  /** @param {FocusOptions} [options] */
  focus(options) {
    (this.choose.hidden ? this.cancel : this.choose).focus(options);
  }

  /** @param {boolean} dragged */
  over(dragged) {
    this.veil.hidden = !dragged;
  }

  /** @param {string} words */
  refuse(words) {
    this.line.dataset.state = "failed";
    this.#say(words);
  }

  /** @param {Queue} queue */
  draw(queue) {
    const { totals, busy } = queue;
    const failed = queue.uploads.find(({ state }) => state === "failed");
    const state = busy ? "busy" : failed ? "failed" : totals.done > 0 ? "done" : "idle";
    this.line.dataset.state = state;
    this.bar.hidden = state !== "busy" && state !== "done";
    this.#drawBar(queue);
    const focused = /** @type {ShadowRoot} */ (this.line.getRootNode()).activeElement;
    this.cancel.hidden = !busy;
    this.retry.hidden = !failed && !(queue.paused && totals.waiting > 0);
    this.choose.hidden = busy;
    // A button that goes away under the person's hands passes the focus on.
    if (focused instanceof HTMLElement && focused.hidden) this.focus();
    const words = wordsOf(this.texts, queue);
    if (busy) this.status.textContent = words;
    this.#speak(busy ? this.texts.get("drop.sending") : words);
    if (!busy) this.#say(words);
  }

  /** @param {Queue} queue */
  #drawBar(queue) {
    const live = queue.uploads.filter(({ state }) => state !== "failed" && state !== "cancelled");
    const size = live.reduce((all, upload) => all + upload.size, 0);
    let front = 0;
    let kept = 0;
    for (const upload of live) {
      // An empty file weighs nothing, unless it is alone: then it is everything.
      const weight = size > 0 ? upload.size / size : 1 / live.length;
      const share = shareOf(upload);
      front += share.front * weight;
      kept += share.kept * weight;
    }
    const all = live.length > 0 && live.every(({ state }) => state === "done") ? 100 : 99;
    const value = Math.min(all, all === 100 ? 100 : Math.floor(kept));
    this.arrived.style.inlineSize = `${Math.min(all, front)}%`;
    this.kept.style.inlineSize = `${Math.min(all, kept)}%`;
    this.bar.classList.toggle("unreported", live.some(({ active, reported }) => active && !reported));
    this.bar.setAttribute("aria-valuenow", String(value));
    const percent = this.texts.percent(value);
    this.bar.setAttribute("aria-valuetext", this.texts.get("drop.kept", { percent }));
  }

  /** @param {string} words */
  #say(words) {
    this.status.textContent = words;
    this.#speak(words);
  }

  /** @param {string} words */
  #speak(words) {
    // Set only when it changes: every write to a live region is read aloud.
    if (this.spoken.textContent !== words) this.spoken.textContent = words;
  }
}

/**
 * @param {Texts} texts
 * @param {Queue} queue
 */
function wordsOf(texts, queue) {
  const [only] = queue.uploads;
  if (!only) return "";
  const { totals } = queue;
  if (queue.uploads.length === 1) {
    const advice = only.problem ? [only.problem.detail, only.problem.todo].filter(Boolean).join(" ") : "";
    return [statusWords(texts, only, performance.now()), advice].filter(Boolean).join(" ");
  }
  const { done, count } = totals;
  const words = [
    queue.busy || done < count
      ? texts.get("queue.done-of", { done, total: count })
      : texts.get("queue.stored", { count: done }),
  ];
  const failed = queue.uploads.find(({ problem }) => problem);
  if (failed?.problem) {
    const problem = `${failed.problem.title} ${failed.problem.todo}`;
    words.push(texts.get("drop.failed", { count: totals.failed, problem }));
  }
  return words.join(" · ");
}

/**
 * An element pages can style by ::part(name).
 * @param {string} tag
 * @param {string} name
 * @param {Element | ShadowRoot} into
 */
function make(tag, name, into) {
  const element = document.createElement(tag);
  element.className = name;
  element.setAttribute("part", name);
  into.append(element);
  return element;
}

/**
 * @param {string} name
 * @param {string} words
 * @param {Element} into
 * @param {() => void} run
 */
function button(name, words, into, run) {
  const element = /** @type {HTMLButtonElement} */ (make("button", name, into));
  element.type = "button";
  element.textContent = words;
  element.addEventListener("click", run);
  return element;
}
