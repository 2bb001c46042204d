// One upload as a row: what it looks like in each state, in words and bars. Decides nothing.

import { httpLink } from "./response.js";
import { copyButton } from "../elements/copy-button.js";
import { Details } from "./details.js";
import { texts } from "../texts/page-texts.js";
import { canRetry } from "../texts/problems.js";
import { barWords, shareOf, statusWords } from "../texts/upload-status.js";

/** @typedef {import("./upload.js").Upload} Upload */

/**
 * @param {Element | DocumentFragment} within
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function part(within, selector) {
  const found = within.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`the page lacks ${selector}`);
  return found;
}

/**
 * A copy of a template's only element.
 * @param {string} id
 */
export function stamp(id) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById(id));
  return /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
}

/**
 * A link only to this very server: what is listed here is also deleted here.
 * @param {string | null | undefined} address from an answer
 */
export function ownLink(address) {
  const link = httpLink(address);
  return link && new URL(link).origin === location.origin ? link : "";
}

export class Row {
  /**
   * @param {Upload} upload
   * @param {Record<"pause" | "go-on" | "cancel" | "retry" | "dismiss", () => void>} actions
   */
  constructor(upload, actions) {
    this.upload = upload;
    this.element = stamp("row-template");
    this.bar = part(this.element, ".bar");
    const name = upload.path.split("/").at(-1) ?? upload.path;
    const folders = upload.path.slice(0, upload.path.length - name.length);
    part(this.element, ".folder").textContent = folders;
    part(this.element, ".name").textContent = name;
    part(this.element, ".row-name").title = upload.path;
    part(this.element, ".size").textContent = texts.bytes(upload.size);
    this.bar.setAttribute("aria-label", texts.get("upload.bar", { path: upload.path }));
    for (const [action, run] of Object.entries(actions)) {
      const button = part(this.element, `.${action}`);
      button.addEventListener("click", run);
      const label = texts.get(`upload.${action}-path`, { path: upload.path });
      button.setAttribute("aria-label", label);
    }
    const digest = () => upload.answer?.digest;
    copyButton(part(this.element, ".copy"), () => digest()?.digits ?? "", () => (
      texts.get("copy.digest", { path: upload.path, algorithm: digest()?.name ?? "" })
    ));
    this.details = new Details(part(this.element, ".details"), upload);
    this.draw();
  }

  /** Bring the row up to date. Cheap enough for ten times a second. */
  draw() {
    const { upload, element } = this;
    const now = performance.now();
    element.dataset.state = upload.state;
    this.#drawBar();
    part(element, ".status").textContent = statusWords(texts, upload, now);
    const advice = part(element, ".advice");
    const { detail, todo } = upload.problem ?? { detail: "", todo: "" };
    advice.textContent = [detail, todo].filter(Boolean).join(" ");
    advice.hidden = !upload.problem;
    this.#drawReceipt();
    this.#drawButtons();
    this.details.draw();
  }

  #drawBar() {
    const { upload, bar } = this;
    const done = upload.state === "done";
    const under = upload.active || upload.state === "paused";
    const { front, kept } = shareOf(upload);
    part(bar, ".arrived").style.inlineSize = `${front}%`;
    part(bar, ".kept").style.inlineSize = `${kept}%`;
    bar.classList.toggle("unreported", upload.active && !upload.reported);
    bar.setAttribute("aria-valuenow", String(kept));
    bar.setAttribute("aria-valuetext", barWords(texts, upload));
    const percent = upload.reported || done
      ? texts.percent(kept)
      : texts.get("upload.sent-percent", { percent: texts.percent(front) });
    part(this.element, ".percent").textContent = under || done ? percent : "";
    part(this.element, ".row-bar").hidden = !under && !done;
  }

  #drawReceipt() {
    const { upload, element } = this;
    const digest = upload.answer?.digest;
    const link = upload.answer?.link;
    part(element, ".receipt").hidden = upload.state !== "done" || (!digest && !link);
    if (upload.state !== "done") return;
    // The person may have decided to keep both: then it has a number in its name.
    const stored = upload.answer?.passedOn ? "" : upload.answer?.entry?.key ?? "";
    const name = stored.split("/").at(-1);
    if (name && upload.renamed) part(element, ".name").textContent = name;
    const anchor = /** @type {HTMLAnchorElement} */ (part(element, ".receipt .link"));
    anchor.hidden = !link;
    if (link) {
      const { host } = new URL(link);
      anchor.href = link;
      // Another server's page looks like whatever it likes: say whose it is before it is opened.
      const [open, label] = host === location.host
        ? ["upload.open", "upload.open-path"]
        : ["upload.open-at", "upload.open-path-at"];
      anchor.textContent = texts.get(open, { host });
      anchor.setAttribute("aria-label", texts.get(label, { path: upload.path, host }));
    }
    part(element, ".digest").hidden = part(element, ".copy").hidden = !digest;
    if (!digest) return;
    const { name: algorithm, digits } = digest;
    const label = texts.get("copy.digest", { path: upload.path, algorithm });
    if (part(element, ".digest .algorithm").textContent !== algorithm) {
      part(element, ".digest .algorithm").textContent = algorithm;
      part(element, ".copy").setAttribute("aria-label", label);
    }
    const code = part(element, ".digest code");
    code.textContent = digits.length > 16 ? `${digits.slice(0, 6)}…${digits.slice(-6)}` : digits;
    code.title = digits;
  }

  #drawButtons() {
    const { upload, element } = this;
    // Asked before anything is hidden: a hidden element has lost the focus already.
    const focused = element.contains(document.activeElement) ? document.activeElement : null;
    part(element, ".pause").hidden = !upload.pausable;
    part(element, ".go-on").hidden = upload.state !== "paused";
    part(element, ".cancel").hidden = upload.ended;
    const { problem, state } = upload;
    part(element, ".retry").hidden = state !== "cancelled" && !(problem && canRetry(problem));
    part(element, ".dismiss").hidden = !upload.ended;
    // A button that goes away under the person's hands passes the focus on, else the keyboard is
    // back at the top.
    if (focused instanceof HTMLElement && focused.hidden) {
      const next = element.querySelector(".row-buttons button:not([hidden])");
      if (next instanceof HTMLElement) next.focus();
    }
  }
}
