// What <sluice-drop> shows below and over its content. Decides nothing.

import { button, icon, make } from "./drop-parts.js";
import { dress } from "./drop-style.js";
import { canRetry } from "../texts/problems.js";
import { percentUnderWay } from "../texts/texts.js";
import { paceOfAll, shareOf, statusWords } from "../texts/upload-status.js";
import { Meter } from "../uploads/meter.js";

/** @typedef {import("../uploads/queue.js").Queue} Queue */
/** @typedef {import("../uploads/upload.js").Upload} Upload */
/** @typedef {import("../texts/texts.js").Texts} Texts */

// Of a folder with a thousand files, as many links as people read.
const LINKS = 20;

export class DropView {
  #speed = new Meter();

  /**
   * @param {ShadowRoot} root
   * @param {Texts} texts
   * @param {Record<"choose" | "pause" | "goOn" | "retry" | "cancel", () => void>} actions
   */
  constructor(root, texts, actions) {
    this.texts = texts;
    dress(root);
    root.append(document.createElement("slot"));
    this.panel = make("div", "panel", root);
    const invitation = make("div", "invitation", this.panel);
    icon(invitation);
    this.hint = make("span", "hint", invitation);
    this.choose = button("choose", invitation, actions.choose);
    this.progress = make("div", "progress", this.panel);
    // A name keeps its own direction, and stands where the language begins.
    this.name = make("bdi", "name", make("p", "file", this.progress));
    this.bar = make("div", "bar", this.progress);
    this.arrived = make("span", "arrived", this.bar);
    this.kept = make("span", "kept", this.bar);
    this.status = make("p", "status", this.progress);
    this.links = make("ul", "links", this.progress);
    const buttons = make("div", "buttons", this.progress);
    this.pause = button("pause", buttons, actions.pause);
    this.goOn = button("go-on", buttons, actions.goOn);
    this.retry = button("retry", buttons, actions.retry);
    this.cancel = button("cancel", buttons, actions.cancel);
    this.veil = make("div", "over", root);
    this.spoken = make("span", "unseen", root);

    this.progress.hidden = this.veil.hidden = true;
    this.veil.setAttribute("aria-hidden", "true");
    this.spoken.setAttribute("role", "status");
    this.bar.setAttribute("role", "progressbar");
    this.bar.setAttribute("aria-valuemin", "0");
    this.bar.setAttribute("aria-valuemax", "100");
  }

  /**
   * Everything that does not depend on uploads, in one language.
   * @param {Texts} texts
   * @param {{label: string | null, multiple: boolean, disabled: boolean,
   *   unfinished: import("../resuming/bookmarks.js").Bookmark | undefined}} options
   */
  label(texts, { label, multiple, disabled, unfinished }) {
    this.texts = texts;
    for (const part of [this.panel, this.veil]) part.dir = texts.direction;
    this.hint.textContent = unfinished
      ? texts.get("drop.unfinished", {
        path: unfinished.path,
        percent: texts.percent(percentUnderWay(unfinished.offset, unfinished.size)),
      })
      : texts.get(multiple ? "drop.hint-files" : "drop.hint");
    this.choose.textContent = label ?? texts.get(multiple ? "drop.add-files" : "drop.add-file");
    this.choose.disabled = disabled;
    this.pause.textContent = texts.get("upload.pause");
    this.goOn.textContent = texts.get("upload.go-on");
    this.retry.textContent = texts.get("upload.retry");
    this.cancel.textContent = texts.get("upload.cancel");
    this.bar.setAttribute("aria-label", texts.get("drop.bar"));
  }

  /** @param {FocusOptions} [options] */
  focus(options) {
    (this.choose.hidden ? this.cancel : this.choose).focus(options);
  }

  /** @param {number | null} count of things dragged over it; null when they have left */
  over(count) {
    this.veil.hidden = count === null;
    if (count) this.veil.textContent = this.texts.get("intake.let-go", { count });
  }

  /**
   * Files that are not taken: nothing was sent.
   * @param {string} words why
   */
  refuse(words) {
    this.progress.hidden = false;
    this.progress.dataset.state = "failed";
    for (const one of [this.bar, this.pause, this.goOn, this.retry, this.cancel]) one.hidden = true;
    this.name.textContent = "";
    this.links.replaceChildren();
    this.#say(words);
  }

  /**
   * @param {Queue} queue
   * @param {"idle" | "busy" | "failed" | "done"} state
   */
  draw(queue, state) {
    const { totals, busy } = queue;
    this.progress.hidden = queue.uploads.length === 0;
    this.progress.dataset.state = state;
    this.bar.hidden = state !== "busy" && state !== "done";
    this.#drawBar(queue);
    this.#drawLinks(queue);
    const focused = /** @type {ShadowRoot} */ (this.panel.getRootNode()).activeElement;
    this.cancel.hidden = !busy;
    this.pause.hidden = !queue.uploads.some(({ pausable }) => pausable);
    this.goOn.hidden = !queue.uploads.some((upload) => upload.state === "paused");
    const again = queue.uploads.some(({ problem }) => problem && canRetry(problem));
    this.retry.hidden = !again && !(queue.paused && totals.waiting > 0);
    this.choose.hidden = busy;
    // A button that goes away under the person's hands passes the focus on.
    if (focused instanceof HTMLElement && focused.hidden) this.focus();
    this.name.textContent = this.#nameWords(queue);
    const words = this.#words(queue);
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
    const unreported = live.some(({ active, reported }) => active && !reported);
    this.bar.classList.toggle("unreported", unreported);
    this.bar.setAttribute("aria-valuenow", String(value));
    const percent = this.texts.percent(value);
    this.bar.setAttribute("aria-valuetext", this.texts.get("drop.kept", { percent }));
  }

  /** @param {Queue} queue */
  #drawLinks(queue) {
    const linked = queue.uploads.filter(({ state, answer }) => state === "done" && answer?.link);
    this.links.hidden = linked.length === 0;
    // Links that are there already stay: one of them may have the focus.
    if (this.links.children.length === Math.min(linked.length, LINKS)) return;
    const several = queue.uploads.length > 1;
    this.links.replaceChildren();
    for (const upload of linked.slice(0, LINKS)) this.#link(upload, several);
  }

  /**
   * @param {Upload} upload
   * @param {boolean} several
   */
  #link({ path, answer }, several) {
    const { texts } = this;
    const { host, href } = new URL(answer?.link ?? "", document.baseURI);
    // Another server's page looks like whatever it likes: its name stands on the link.
    const own = host === location.host;
    const item = make("li", "item", this.links);
    const link = /** @type {HTMLAnchorElement} */ (make("a", "link", item));
    link.href = href;
    link.target = "_blank";
    link.rel = "noopener";
    const short = texts.get(own ? "upload.open" : "upload.open-at", { host });
    const long = texts.get(own ? "upload.open-path" : "upload.open-path-at", { path, host });
    link.textContent = several ? long : short;
    link.setAttribute("aria-label", long);
  }

  /** @param {Queue} queue */
  #nameWords({ uploads }) {
    if (uploads.length === 1) return uploads[0].path;
    return uploads.length ? this.texts.get("drop.files", { count: uploads.length }) : "";
  }

  /** @param {Queue} queue */
  #words(queue) {
    const { texts } = this;
    const { totals, uploads } = queue;
    const [only] = uploads;
    if (!only) return "";
    if (uploads.length === 1) {
      const { problem } = only;
      const advice = problem ? [problem.detail, problem.todo] : [];
      return [statusWords(texts, only, performance.now()), ...advice].filter(Boolean).join(" ");
    }
    const { done, count } = totals;
    const words = [
      queue.busy || done < count
        ? texts.get("queue.done-of", { done, total: count })
        : texts.get("queue.stored", { count: done }),
      ...this.#pace(queue),
    ];
    const failed = uploads.find(({ problem }) => problem)?.problem;
    if (failed) {
      const problem = `${failed.title} ${failed.todo}`;
      words.push(texts.get("drop.failed", { count: totals.failed, problem }));
    }
    return words.join(" · ");
  }

  /**
   * Speed and time left of all files together.
   * @param {Queue} queue
   */
  #pace({ busy, totals, uploads }) {
    if (!busy) {
      this.#speed = new Meter();
      return [];
    }
    const now = performance.now();
    this.#speed.add(totals.counted, now);
    return [paceOfAll(this.texts, uploads, this.#speed, totals.size, now)].filter(Boolean);
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
