// One row of the view of what runs. Knows no requests.

import { texts } from "../texts/page-texts.js";
import { percentUnderWay } from "../texts/texts.js";

/**
 * An upload as the server lists it.
 * @typedef {object} Running
 * @property {string} id
 * @property {string} key
 * @property {string} name
 * @property {string} state
 * @property {string} stage
 * @property {number} received
 * @property {number} kept
 * @property {number | null} length
 * @property {number} bytes_per_second
 * @property {number} seconds
 */

// Of the stages of an upload those of its destination, and those that are this server's own work.
const OF_DESTINATION = ["destination", "wait-for-answer"];
const OWN_STAGES = ["decode", "queue"];

/**
 * Whom an upload waits for now.
 * @param {Pick<Running, "stage" | "state">} upload
 */
export function waitsFor({ stage, state }) {
  if (state === "checking" || OF_DESTINATION.includes(stage)) return "destination";
  return OWN_STAGES.includes(stage) ? "server" : "client";
}

/** @param {Running} upload */
export function nameOf({ key, id }) {
  return key || texts.get("live.no-key", { id });
}

/** @param {Running} upload */
function words({ state, stage }) {
  if (state === "checking") return texts.get("live.checking");
  return texts.get(`live.waits.${waitsFor({ stage, state })}`);
}

/**
 * @param {ParentNode} within
 * @param {string} selector
 */
export function part(within, selector) {
  const found = within.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`the page lacks ${selector}`);
  return found;
}

export class LiveRow {
  /**
   * @param {Running} upload
   * @param {(row: LiveRow) => void} cancel asks, and ends the upload
   */
  constructor(upload, cancel) {
    const template = /** @type {HTMLTemplateElement} */ (part(document, "#row-template"));
    const content = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.element = part(content, "li");
    this.upload = upload;
    part(this.element, ".cancel").addEventListener("click", () => cancel(this));
    this.show(upload);
  }

  /** @param {Running} upload */
  show(upload) {
    this.upload = upload;
    const name = nameOf(upload);
    const slash = name.lastIndexOf("/") + 1;
    this.#text(".folder", name.slice(0, slash));
    this.#text(".name", name.slice(slash));
    part(this.element, ".row-name").title = name;
    this.#text(".owner", upload.name);
    this.#text(".stage", words(upload));
    this.#text(".rate", texts.rate(upload.bytes_per_second));
    this.#text(".time", texts.get("live.since", { time: texts.duration(upload.seconds) }));
    this.element.dataset.waits = waitsFor(upload);
    this.#bar(upload, name);
    const label = texts.get("live.cancel-one", { path: name });
    part(this.element, ".cancel").setAttribute("aria-label", label);
  }

  /** Whether the server was asked to end it. A disabled button would lose the focus. */
  get isCancelling() {
    return this.element.classList.contains("cancelling");
  }

  set isCancelling(value) {
    this.element.classList.toggle("cancelling", value);
    part(this.element, ".cancel").setAttribute("aria-disabled", String(value));
  }

  /**
   * @param {Running} upload
   * @param {string} name
   */
  #bar({ received, kept, length }, name) {
    const bar = part(this.element, ".bar");
    const sizes = { part: texts.bytes(kept), whole: texts.bytes(length ?? received) };
    bar.setAttribute("aria-label", name);
    bar.classList.toggle("endless", length === null);
    if (length === null) {
      bar.removeAttribute("aria-valuenow");
      bar.setAttribute("aria-valuetext", texts.bytes(received));
      this.#text(".size", texts.bytes(received));
      this.#text(".percent", "");
      return;
    }
    const percent = percentUnderWay(kept, length);
    bar.setAttribute("aria-valuenow", String(percent));
    bar.setAttribute("aria-valuetext", texts.percent(percent));
    this.#text(".size", texts.get("live.part-of", sizes));
    this.#text(".percent", texts.percent(percent));
    part(bar, ".arrived").style.inlineSize = `${percentUnderWay(received, length)}%`;
    part(bar, ".kept").style.inlineSize = `${percent}%`;
  }

  /**
   * @param {string} selector
   * @param {string} value
   */
  #text(selector, value) {
    const element = part(this.element, selector);
    if (element.textContent !== value) element.textContent = value;
  }
}
