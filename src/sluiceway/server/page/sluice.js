// <sluice-drop>: drop a file on the very thing it belongs to, in any page of the same server.
//
//   <script type="module" src="/page/sluice.js"></script>
//   <sluice-drop endpoint="/files" data-book="42"><h3>Emma</h3></sluice-drop>
//
// Attributes: endpoint (where the form is sent, default /files beside this module), uploads (where progress is asked,
// default: "uploads" beside the endpoint, or where the app that serves this module has them), multiple, max-parallel (default 2), accept, part (name of the file's form part,
// default "file"), label (the button's words), token (sent as Authorization: Bearer, to the page's own server and the one this module
// comes from), token-origins (other origins that may be sent the token, with spaces between). Every data-NAME is sent as the
// field NAME, before the file. Attributes are read when a file comes, so they may change at any time.
//
// Events, all bubbling: sluice-start {files}, sluice-progress {received, forwarded, kept, length}, sluice-error {code,
// title, detail, file} for each file that fails, sluice-done {entries, answers, links, verdicts} when all of a drop have ended.

import { acceptDrops, ofChooser, ofDrop } from "./elements/dropped-files.js";
import { DropView } from "./elements/drop-view.js";
import { loadTexts } from "./texts/texts.js";
import { progress } from "./uploads/place.js";
import { Queue } from "./uploads/queue.js";
import { Upload } from "./uploads/upload.js";

/** @typedef {import("./elements/dropped-files.js").Found} Found */

const ENDPOINT = new URL("../files", import.meta.url).href;
const PARALLEL = 2;
const TICK_MS = 1000;

const texts = await loadTexts([document.documentElement.lang, ...navigator.languages]);

export class SluiceDrop extends HTMLElement {
  #queue = this.#newQueue();
  #view = new DropView(this.attachShadow({ mode: "open" }), texts, {
    choose: () => this.choose(),
    retry: () => this.#retry(),
    cancel: () => this.cancel(),
  });
  #chooser = document.createElement("input");
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
    acceptDrops(this, async (transfer) => this.#take((await ofDrop(transfer)).found), (dragged) => {
      this.#view.over(dragged !== null);
    });
    // What can be focused inside the item keeps its own keys; the element itself, where a page makes it focusable, chooses.
    this.addEventListener("keydown", (event) => {
      if (event.composedPath()[0] !== this || (event.key !== "Enter" && event.key !== " ")) return;
      event.preventDefault();
      this.choose();
    });
  }

  connectedCallback() {
    const key = this.hasAttribute("multiple") ? "drop.add-files" : "drop.add-file";
    this.#view.label(this.getAttribute("label") ?? texts.get(key));
  }

  /** @param {FocusOptions} [options] */
  focus(options) {
    this.#view.focus(options);
  }

  /** Open the file chooser. Browsers allow it only after a key or a click. */
  choose() {
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
    for (const upload of this.#queue.uploads) this.#queue.retry(upload);
    this.#queue.resume();
  }

  /** @param {Found[]} found */
  #take(found) {
    if (found.length === 0) return;
    if (found.length > 1 && !this.hasAttribute("multiple")) {
      const title = texts.get("drop.one-file");
      this.#view.refuse(title);
      this.#emit("sluice-error", { code: "one-file", title, detail: "" });
      return;
    }
    const elsewhere = this.#tokenElsewhere();
    if (elsewhere !== null) {
      const title = texts.get("drop.token-elsewhere");
      this.#view.refuse(title);
      const detail = `The token is not sent to ${elsewhere}. Name that origin in the attribute token-origins to allow it.`;
      this.#emit("sluice-error", { code: "token-elsewhere", title, detail });
      return;
    }
    // A new drop on something that is at rest starts its bar anew.
    if (!this.#queue.busy) this.#queue.forget(() => true);
    this.#queue.parallel = Math.max(1, Number.parseInt(this.getAttribute("max-parallel") ?? "", 10) || PARALLEL);
    this.#emit("sluice-start", { files: found.map(({ file }) => file) });
    this.#queue.add(found.map(({ file, path }) => new Upload(file, this.#way(), path)));
  }

  #newQueue() {
    const queue = new Queue(PARALLEL);
    queue.addEventListener("change", (event) => {
      /** @type {Upload | null} */
      const upload = /** @type {CustomEvent} */ (event).detail;
      if (upload?.problem) this.#emit("sluice-error", { ...upload.problem, file: upload.file });
      if (upload?.ended && !queue.busy) this.#settle();
      this.#drawSoon();
    });
    return queue;
  }

  /** @returns {import("./uploads/upload.js").Way} */
  #way() {
    const endpoint = new URL(this.getAttribute("endpoint") ?? ENDPOINT, document.baseURI).href;
    const uploads = this.getAttribute("uploads");
    return {
      endpoint,
      texts,
      uploads: uploads === null ? (progress ?? new URL("uploads", endpoint).href) : new URL(uploads, document.baseURI).href,
      token: this.getAttribute("token") ?? undefined,
      part: this.getAttribute("part") ?? undefined,
      fields: [...this.attributes].filter(({ name }) => name.startsWith("data-")).map(({ name, value }) => [name.slice(5), value]),
    };
  }

  /**
   * The first origin of this element that would be sent the token and may not be; null when there is none.
   * @returns {string | null}
   */
  #tokenElsewhere() {
    const { endpoint, uploads, token } = this.#way();
    if (token === undefined) return null;
    const listed = (this.getAttribute("token-origins") ?? "").split(/\s+/).filter(Boolean);
    const trusted = new Set([location.origin, new URL(import.meta.url).origin, ...listed.map(originOf)]);
    return [endpoint, uploads].map(originOf).find((origin) => !trusted.has(origin)) ?? null;
  }

  /** All have ended: tell of those that are stored, each once, however often the rest is retried. */
  #settle() {
    const done = this.#queue.uploads.filter((upload) => upload.state === "done" && !this.#reported.has(upload));
    if (done.length === 0) return;
    for (const upload of done) this.#reported.add(upload);
    this.#emit("sluice-progress", this.#counters());
    this.#emit("sluice-done", {
      entries: done.flatMap(({ answer }) => answer?.entry ?? []),
      answers: done.map(({ answer }) => answer?.content ?? null),
      links: done.map(({ answer }) => answer?.link || null),
      verdicts: done.map(({ answer }) => answer?.timing?.verdict ?? null),
    });
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

  /** At most once a frame, and once a second while something runs: speeds fall without any event. */
  #drawSoon() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#view.draw(this.#queue);
      if (!this.#queue.busy) return;
      this.#emit("sluice-progress", this.#counters());
      setTimeout(() => this.#drawSoon(), TICK_MS);
    });
  }

  /**
   * @param {string} name
   * @param {object} detail
   */
  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }
}

/** @param {string} url */
function originOf(url) {
  return new URL(url, document.baseURI).origin;
}

customElements.define("sluice-drop", SluiceDrop);
