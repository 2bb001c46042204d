// Asks once what to do with files whose names are taken: replace, keep both, or skip.

import { texts } from "../texts/page-texts.js";
import { part } from "./row.js";

/** @typedef {import("./queue.js").Queue} Queue */
/** @typedef {import("./upload.js").Decision} Decision */

export class ConflictDialog {
  /** What holds for all names that are taken, until the queue is at rest. @type {Decision | ""} */
  #forAll = "";
  /** From the question to the event of its answer, which comes after the dialog has closed. */
  #open = false;

  /**
   * @param {HTMLDialogElement} dialog
   * @param {Queue} queue
   */
  constructor(dialog, queue) {
    this.dialog = dialog;
    this.queue = queue;
    this.forAll = /** @type {HTMLInputElement} */ (part(dialog, "input"));
    // Escape decides nothing away: the stored file stays.
    dialog.addEventListener("close", () => {
      this.#open = false;
      this.#decide(/** @type {Decision} */ (dialog.returnValue || "skip"));
    });
    queue.addEventListener("change", () => this.#look());
  }

  get #asking() {
    return this.queue.uploads.filter(({ state }) => state === "asking");
  }

  #look() {
    if (this.#open && !this.dialog.open) return; // asked again now, the answer would be lost
    if (!this.queue.busy) this.#forAll = "";
    const asking = this.#asking;
    if (asking.length === 0) return;
    if (this.#forAll) return this.#resolve(asking, this.#forAll);
    part(this.dialog, ".text").textContent = texts.get("taken.text", { path: asking[0].path });
    const open = this.queue.uploads.filter(({ ended }) => !ended);
    part(this.dialog, ".for-all").hidden = open.length < 2;
    part(this.dialog, ".for-all-text").textContent = texts.get("taken.for-all", {
      count: asking.length,
    });
    if (this.#open) return;
    this.#open = true;
    this.forAll.checked = true;
    this.dialog.returnValue = "";
    this.dialog.showModal();
    part(this.dialog, "[value=rename]").focus();
  }

  /** @param {Decision} decision */
  #decide(decision) {
    const asking = this.#asking;
    const all = this.forAll.checked && !part(this.dialog, ".for-all").hidden;
    if (all) this.#forAll = decision;
    this.#resolve(all ? asking : asking.slice(0, 1), decision);
    this.#look();
  }

  /**
   * @param {import("./upload.js").Upload[]} uploads
   * @param {Decision} decision
   */
  #resolve(uploads, decision) {
    for (const upload of uploads) upload.decide(decision);
    this.queue.resume();
  }
}
