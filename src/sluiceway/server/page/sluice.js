// <sluice-drop>: drop a file on the very thing it belongs to, in any page of the same server.
//
//   <script type="module" src="/page/sluice.js"></script>
//   <sluice-drop endpoint="/files" data-book="42"><h3>Emma</h3></sluice-drop>
//
// docs/page.md has all attributes, parts, variables and events; sluice.d.ts has their types.
// Attributes are read when a file comes, so they may change at any time.

import { isAccepted, languagesOf, parallelOf, targetOf } from "./elements/drop-attributes.js";
import { tokenElsewhere } from "./elements/drop-attributes.js";
import { acceptDrops, ofChooser, ofDrop } from "./elements/dropped-files.js";
import { DropView } from "./elements/drop-view.js";
import { canRetry } from "./texts/problems.js";
import { loadTexts } from "./texts/texts.js";
import { bookmarks } from "./resuming/bookmarks.js";
import { isHeldHere } from "./resuming/tabs.js";
import { Queue } from "./uploads/queue.js";
import { Upload } from "./uploads/upload.js";

/** @typedef {import("./elements/dropped-files.js").Found} Found */
/** @typedef {"idle" | "busy" | "failed" | "done"} State */

const TICK_MS = 1000;

const pageTexts = await loadTexts(languagesOf(document.documentElement));

export class SluiceDrop extends HTMLElement {
  static formAssociated = true;
  static observedAttributes = [
    "accept", "connections", "disabled", "endpoint", "file-field", "label", "lang", "link",
    "max-parallel", "multiple", "name", "required", "token", "token-origins", "uploads",
  ];

  #texts = pageTexts;
  #queue = this.#newQueue();
  // A form that finds a fault here moves the focus to the button inside.
  #view = new DropView(this.attachShadow({ mode: "open", delegatesFocus: true }), pageTexts, {
    choose: () => this.choose(),
    pause: () => this.#queue.uploads.forEach((upload) => this.#queue.hold(upload)),
    goOn: () => this.#queue.uploads.forEach((upload) => this.#queue.goOn(upload)),
    retry: () => this.#retry(),
    cancel: () => this.cancel(),
  });
  #internals = this.attachInternals();
  #chooser = document.createElement("input");
  /** Disabled by a fieldset around it. */
  #disabledByForm = false;
  /** Uploads that a sluice-done event has reported. @type {WeakSet<Upload>} */
  #reported = new WeakSet();
  #drawing = false;

  constructor() {
    super();
    this.#chooser.type = "file";
    this.#chooser.addEventListener("change", () => {
      this.#take(ofChooser(this.#chooser.files));
      this.#chooser.value = "";
    });
    acceptDrops(this, (transfer) => this.#drop(transfer), (dragged) => this.#hover(dragged));
    // What can be focused inside the item keeps its own keys; the element itself, where a page
    // makes it focusable, chooses.
    this.addEventListener("keydown", (event) => {
      if (event.composedPath()[0] !== this || (event.key !== "Enter" && event.key !== " ")) return;
      event.preventDefault();
      this.choose();
    });
  }

  connectedCallback() {
    connected.add(this);
    this.#label();
    this.#checkForm();
    this.speak();
  }

  disconnectedCallback() {
    connected.delete(this);
  }

  /**
   * @param {string} name
   * @param {string | null} before
   * @param {string | null} now
   */
  attributeChangedCallback(name, before, now) {
    if (before === now || !this.isConnected) return;
    if (name === "lang") this.speak();
    this.#label();
    this.#checkForm();
  }

  /** @param {boolean} disabled */
  formDisabledCallback(disabled) {
    this.#disabledByForm = disabled;
    this.#label();
  }

  formResetCallback() {
    this.cancel();
    this.#queue.forget(() => true);
    this.#checkForm();
  }

  /** Take the language of the place where the element stands. */
  async speak() {
    const texts = await loadTexts(languagesOf(this));
    if (texts.locale === this.#texts.locale) return;
    this.#texts = texts;
    this.#label();
    this.#checkForm();
    this.#drawSoon();
  }

  #label() {
    const [label, multiple] = [this.getAttribute("label"), this.hasAttribute("multiple")];
    const { endpoint, fields } = targetOf(this, this.#texts);
    // One with fields sends forms, which do not go on.
    const unfinished = fields?.length
      ? undefined
      : bookmarks().find((one) => one.endpoint === endpoint && !isHeldHere(one.url));
    const disabled = this.#isDisabled();
    this.#view.label(this.#texts, { label, multiple, disabled, unfinished });
  }

  #isDisabled() {
    return this.#disabledByForm || this.hasAttribute("disabled");
  }

  /** @param {FocusOptions} [options] */
  focus(options) {
    this.#view.focus(options);
  }

  /** Open the file chooser. Browsers allow it only after a key or a click. */
  choose() {
    if (this.#isDisabled()) return;
    this.#chooser.multiple = this.hasAttribute("multiple");
    this.#chooser.accept = this.getAttribute("accept") ?? "";
    this.#chooser.click();
  }

  /**
   * Send files, as if they had been dropped.
   * @param {Iterable<File>} files
   */
  send(files) {
    this.#take([...files].map((file) => ({ file, path: file.name })));
  }

  /** Stop everything under way. */
  cancel() {
    this.#queue.cancelAll();
  }

  #retry() {
    for (const upload of this.#queue.uploads) {
      const { problem, state } = upload;
      if (state === "cancelled" || (problem && canRetry(problem))) this.#queue.retry(upload);
    }
    this.#queue.resume();
  }

  /** @param {DataTransfer} transfer */
  async #drop(transfer) {
    const { found, unreadable } = await ofDrop(transfer);
    if (found.length) this.#take(found);
    else if (unreadable.length === 0) this.#refuse("no-file", "intake.nothing");
    if (unreadable.length) this.#refuse("unreadable", "intake.unreadable", unreadable.join(", "));
  }

  /** @param {DataTransfer | null} dragged */
  #hover(dragged) {
    const files = [...(dragged?.items ?? [])].filter(({ kind }) => kind === "file");
    const over = dragged !== null && !this.#isDisabled();
    this.#view.over(over ? Math.max(1, files.length) : null);
    this.#setState("over", over);
  }

  /** @param {Found[]} found */
  #take(found) {
    if (found.length === 0 || this.#isDisabled()) return;
    const accept = this.getAttribute("accept");
    const target = targetOf(this, this.#texts);
    const elsewhere = tokenElsewhere(this, target);
    if (found.length > 1 && !this.hasAttribute("multiple")) {
      this.#refuse("one-file", "drop.one-file");
    } else if (!found.every(({ file }) => isAccepted(accept, file))) {
      this.#refuse("not-accepted", "drop.not-accepted");
    } else if (elsewhere !== null) {
      const cure = "Name that origin in the attribute token-origins to allow it.";
      const detail = `The token is not sent to ${elsewhere}. ${cure}`;
      this.#refuse("token-elsewhere", "drop.token-elsewhere", "", detail);
    } else {
      // A new drop on something that is at rest starts its bar anew, whatever stopped the last one.
      if (!this.#queue.busy) {
        this.#queue.forget(() => true);
        this.#queue.paused = false;
      }
      this.#queue.parallel = parallelOf(this);
      this.#emit("sluice-start", { files: found.map(({ file }) => file) });
      this.#queue.add(found.map(({ file, path }) => new Upload(file, target, path)));
    }
  }

  /**
   * Files that are not taken: nothing is sent.
   * @param {string} code
   * @param {string} key of the text for the person
   * @param {string} [names]
   * @param {string} [detail] for the page's developer
   */
  #refuse(code, key, names = "", detail = "") {
    const title = this.#texts.get(key, { names });
    if (!this.#queue.busy) this.#view.refuse(title);
    this.#emit("sluice-error", { code, title, detail, todo: "" });
  }

  #newQueue() {
    const queue = new Queue(1);
    queue.addEventListener("change", (event) => {
      /** @type {Upload | null} */
      const upload = /** @type {CustomEvent} */ (event).detail;
      if (upload?.problem) this.#emit("sluice-error", { ...upload.problem, file: upload.file });
      if (upload?.ended && !queue.busy) {
        this.#reportStored();
        this.#label();
      }
      this.#drawSoon();
    });
    return queue;
  }

  /** All have ended: report those that are stored, each once, however often the rest is retried. */
  #reportStored() {
    const stored = this.#queue.uploads.filter(({ state }) => state === "done");
    const done = stored.filter((upload) => !this.#reported.has(upload));
    if (done.length === 0) return;
    for (const upload of done) this.#reported.add(upload);
    this.#checkForm();
    this.#emit("sluice-progress", this.#counters());
    this.#emit("sluice-done", {
      entries: done.flatMap(({ answer }) => answer?.entry ?? []),
      answers: done.map(({ answer }) => answer?.content ?? null),
      links: done.map(({ answer }) => answer?.link || null),
      verdicts: done.map(({ answer }) => answer?.timing?.verdict ?? null),
    });
  }

  /** What the form around it sends: the address of each stored file, under the element's name. */
  #checkForm() {
    const [name, values] = [this.getAttribute("name"), new FormData()];
    for (const { state, answer } of this.#queue.uploads) {
      const value = answer?.link || answer?.entry?.key;
      if (state === "done" && name && value) values.append(name, value);
    }
    this.#internals.setFormValue(values);
    const stored = this.#queue.uploads.some(({ state }) => state === "done");
    const flags = { customError: this.#queue.busy, valueMissing: false };
    flags.valueMissing = !flags.customError && !stored && this.hasAttribute("required");
    const key = flags.customError ? "drop.wait" : flags.valueMissing ? "drop.required" : "";
    this.#internals.setValidity(flags, key && this.#texts.get(key), this.#view.choose);
  }

  /** The server's three counters over all files of the drop, in bytes of the files. */
  #counters() {
    const counters = { received: 0, forwarded: 0, kept: 0, length: 0 };
    for (const upload of this.#queue.uploads) {
      if (upload.state === "failed" || upload.state === "cancelled") continue;
      const stored = upload.state === "done";
      counters.received += stored ? upload.size : upload.arrived;
      counters.forwarded += stored ? upload.size : upload.forwarded;
      counters.kept += stored ? upload.size : upload.kept;
      counters.length += upload.size;
    }
    return counters;
  }

  /** At most once a frame, and once a second while one runs: speeds fall without any event. */
  #drawSoon() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      const state = stateOf(this.#queue);
      this.#view.draw(this.#queue, state);
      for (const name of ["busy", "failed", "done"]) this.#setState(name, name === state);
      this.#checkForm();
      if (!this.#queue.busy) return;
      this.#emit("sluice-progress", this.#counters());
      setTimeout(() => this.#drawSoon(), TICK_MS);
    });
  }

  /**
   * Pages style it by :state(name).
   * @param {string} name
   * @param {boolean} on
   */
  #setState(name, on) {
    if (on) this.#internals.states.add(name);
    else this.#internals.states.delete(name);
  }

  /**
   * @param {string} name
   * @param {object} detail
   */
  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }
}

/**
 * @param {Queue} queue
 * @returns {State}
 */
function stateOf({ busy, uploads, totals }) {
  if (busy) return "busy";
  if (uploads.some(({ state }) => state === "failed")) return "failed";
  return totals.done > 0 ? "done" : "idle";
}

/** @type {Set<SluiceDrop>} */
const connected = new Set();

// An app that changes its language without a new page changes this attribute.
new MutationObserver(() => {
  for (const element of connected) element.speak();
}).observe(document.documentElement, { attributeFilter: ["lang"] });

customElements.define("sluice-drop", SluiceDrop);
