// One upload: the request that sends the file, and what the server reports about it. Draws nothing.

import { readAnswer } from "./response.js";
import { snapshotOf, watch } from "./progress.js";
import { Meter } from "./meter.js";
import { connectionLost, fileGone, problemOfAnswer, problemOfCode } from "../texts/problems.js";

/**
 * @typedef {"waiting" | "sending" | "finishing" | "asking" | "done" | "failed" | "cancelled"} State
 *   finishing: every byte has left the browser, the server's answer has not come yet.
 *   asking: the name is taken, and the person has to decide.
 * @typedef {"replace" | "rename" | "skip"} Decision what to do with a name that is taken
 *
 * @typedef {object} UploadTarget where and how files are sent
 * @property {string} endpoint URL that takes the form
 * @property {string} uploads URL below which uploads report their progress
 * @property {import("../texts/texts.js").Texts} texts for what went wrong
 * @property {string} [token]
 * @property {string} [fileField] name of the form field that holds the file
 * @property {[string, string][]} [fields] sent before the file
 * @property {boolean} [asks] a person decides on names that are taken
 */

// The event stream is opened only for uploads that last: a folder of a thousand small files opens
// none, and the request itself is always the first of the two to get one of the browser's six
// connections.
const WATCH_AFTER_MS = 150;
// After the stream reported a failure, the request's own answer has this long to arrive: it says
// more. The server lets a sender go on for two seconds before it closes, and browsers look up only
// then.
const ANSWER_GRACE_MS = 4000;
// After a late cancel the server has this long to notice before it is asked what came of it.
const SETTLE_MS = 500;

/** Emits "change" whenever something about it is new. */
export class Upload extends EventTarget {
  /** @type {State} */
  state = "waiting";
  /** Bytes of the file that left the browser; some may still be in the network. */
  sent = 0;
  /** Bytes of the file that reached the server. */
  arrived = 0;
  /** Bytes of the file handed to the destination. */
  forwarded = 0;
  /** Bytes of the file that the destination acknowledged. */
  kept = 0;
  /** Whether the server has reported arrived, forwarded and kept; before, only `sent` is known. */
  reported = false;
  /** Whether only the destination's network has acknowledged `kept`, not the destination itself. */
  networkOnly = false;
  /** Whether the server has everything, and only the destination's answer is missing. */
  checking = false;
  /** Since when only the answer is missing (milliseconds of performance.now), or 0. */
  askedAt = 0;
  /** Whether it was cancelled when the destination already had it. */
  tooLate = false;
  /** What was answered, of whatever kind. @type {import("./response.js").Answer | null} */
  answer = null;
  /** @type {import("../texts/problems.js").Problem | null} */
  problem = null;
  meter = new Meter();
  startedAt = 0;
  endedAt = 0;
  #overhead = 0;
  /** Where the server tells about this attempt. */
  #status = "";
  /** @type {XMLHttpRequest | null} */
  #request = null;
  /** What was decided about a name that is taken. @type {Decision | ""} */
  #decision = "";

  /**
   * @param {File} file
   * @param {UploadTarget} target
   * @param {string} [path] where it lay in a dropped or chosen folder: sent as its name, and shown
   */
  constructor(file, target, path = file.name) {
    super();
    this.file = file;
    // Read once: Chromium reports a file that was deleted from the disk as empty.
    this.size = file.size;
    this.target = target;
    this.path = path;
  }

  /**
   * Bytes to measure speed and time by: what is kept, or what was sent while the server reports
   * nothing.
   */
  get counted() {
    return this.reported ? this.kept : this.sent;
  }

  get active() {
    return this.state === "sending" || this.state === "finishing";
  }

  get ended() {
    return this.state === "done" || this.state === "failed" || this.state === "cancelled";
  }

  /** Back to the queue, as if nothing had been sent. */
  reset() {
    this.sent = this.arrived = this.forwarded = this.kept = this.#overhead = 0;
    this.reported = this.networkOnly = this.checking = this.tooLate = false;
    this.askedAt = 0;
    this.problem = this.answer = null;
    this.meter = new Meter();
    this.#become("waiting");
  }

  /**
   * Send it. Each attempt has an id of its own, so that nothing a former one left behind can be
   * mistaken for this one.
   */
  start() {
    const id = newUploadId();
    const request = new XMLHttpRequest();
    const watching = new AbortController();
    this.#request = request;
    this.startedAt = performance.now();
    this.#become("sending");

    const url = new URL(this.target.endpoint, document.baseURI);
    url.searchParams.set("upload", id);
    if (this.#decision) url.searchParams.set("conflict", this.#decision);
    this.#status = `${this.target.uploads.replace(/\/$/, "")}/${id}`;
    const timer = setTimeout(() => this.#watch(this.#status, watching.signal), WATCH_AFTER_MS);

    request.upload.onprogress = (event) => this.#left(event.loaded, event.total);
    request.upload.onload = (event) => {
      this.#left(event.loaded, event.total);
      if (this.state !== "sending") return;
      if (!this.reported) this.askedAt = performance.now();
      this.#become("finishing");
    };
    request.onload = () => this.#answered(request);
    request.onerror = () => this.#broken();
    request.onloadend = () => {
      clearTimeout(timer);
      watching.abort();
    };
    request.open("POST", url);
    request.setRequestHeader("Accept", "application/json");
    for (const [name, value] of Object.entries(this.#authorization())) {
      request.setRequestHeader(name, value);
    }
    request.send(this.#form());
  }

  /** Stop. A file that the destination already has stays there; then `tooLate` is set. */
  cancel() {
    if (this.ended) return;
    const settled = this.state === "finishing";
    this.#request?.abort();
    this.#end("cancelled");
    if (settled) this.#wasTooLate();
  }

  /** Cancelled after every byte had left: only the server knows which of the two was faster. */
  async #wasTooLate() {
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const snapshot = await this.#ask();
    if (this.state !== "cancelled" || snapshot?.state !== "complete") return;
    this.tooLate = true;
    this.#changed();
  }

  /** Whether it got another name, because its own is taken. */
  get renamed() {
    return this.#decision === "rename";
  }

  /** Whether it was skipped, because its name is taken. */
  get skipped() {
    return this.#decision === "skip";
  }

  /**
   * The person has decided about the name that is taken. The queue sends it again.
   * @param {Decision} decision
   */
  decide(decision) {
    if (this.state !== "asking") return;
    this.#decision = decision;
    if (decision === "skip") this.#end("cancelled");
    else this.reset();
  }

  /** Ask again, should the name still be taken. */
  forgetDecision() {
    this.#decision = "";
  }

  /** What the server knows of this attempt, or null. */
  #ask() {
    return snapshotOf(this.#status, this.#authorization()).catch(() => null);
  }

  /** Fields first: a server that reads the form in one pass knows them before the file begins. */
  #form() {
    const form = new FormData();
    for (const [name, value] of this.target.fields ?? []) form.append(name, value);
    // With the folders it lay in, as browsers send it for <input webkitdirectory>.
    form.append(this.target.fileField ?? "file", this.file, this.path);
    return form;
  }

  /** @returns {Record<string, string>} */
  #authorization() {
    return this.target.token ? { Authorization: `Bearer ${this.target.token}` } : {};
  }

  /**
   * @param {number} loaded bytes of the body
   * @param {number} total bytes of the body
   */
  #left(loaded, total) {
    // Only here the body's own overhead (fields, part headers) becomes known; the server's counter
    // includes it too.
    this.#overhead = Math.max(0, total - this.size);
    this.sent = this.#ofFile(loaded);
    if (!this.reported) this.meter.add(this.sent, performance.now());
    this.#changed();
  }

  /** @param {number} ofBody */
  #ofFile(ofBody) {
    return Math.max(0, Math.min(this.size, ofBody - this.#overhead));
  }

  /**
   * @param {string} url
   * @param {AbortSignal} signal
   */
  #watch(url, signal) {
    watch(url, this.#authorization(), signal, (snapshot) => this.#report(snapshot)).catch(() => {
      // The server reports nothing: the row shows what was sent.
    });
  }

  /** @param {import("./progress.js").Snapshot} snapshot */
  #report(snapshot) {
    if (!this.active || snapshot.state === "waiting") return;
    if (!this.reported) this.meter = new Meter();
    this.reported = true;
    this.networkOnly = snapshot.kept_by === "kernel";
    this.kept = Math.max(this.kept, Math.min(this.size, snapshot.kept));
    this.forwarded = Math.max(this.forwarded, this.kept, Math.min(this.size, snapshot.forwarded));
    // `received` counts the body; how much of its overhead stands behind the file is not known,
    // what was forwarded is.
    this.arrived = Math.max(this.arrived, this.forwarded, this.#ofFile(snapshot.received));
    this.checking = snapshot.state === "checking";
    // A network's acknowledgements stop a byte short of the whole: only the destination confirms
    // all.
    const answerIsMissing = this.checking && (!this.networkOnly || this.kept >= this.size - 1);
    this.askedAt = answerIsMissing ? this.askedAt || performance.now() : 0;
    this.meter.add(this.kept, performance.now());
    // After a view's redirect the browser asks for another page, whose answer decides.
    const decided = snapshot.code !== "redirected";
    if (decided && (snapshot.state === "failed" || snapshot.state === "cancelled")) {
      this.#failedWhileSending(snapshot);
    }
    this.#changed();
  }

  /**
   * The server gave up while the browser still sends. Browsers read an answer only when they have
   * sent all or the connection ends, which for a large file is minutes later: stop sending as soon
   * as it is clear that no answer comes.
   * @param {import("./progress.js").Snapshot} snapshot
   */
  #failedWhileSending(snapshot) {
    const request = this.#request;
    setTimeout(() => {
      if (!this.active || request !== this.#request) return;
      request?.abort();
      this.#fail(problemOfCode(this.target.texts, snapshot.code ?? "error", snapshot, this.size));
    }, ANSWER_GRACE_MS);
  }

  /** @param {XMLHttpRequest} request */
  #answered(request) {
    if (!this.active) return;
    this.answer = readAnswer(request);
    if (request.status >= 200 && request.status <= 299) this.#end("done");
    else this.#fail(problemOfAnswer(this.target.texts, this.answer, this.size));
  }

  /** No response came: ask the server for the result first. */
  async #broken() {
    const request = this.#request;
    const readable = await this.#fileIsThere();
    const wholeBodySent = this.state === "finishing";
    const snapshot = wholeBodySent ? await this.#ask() : null;
    if (!this.active || request !== this.#request) return;
    if (!readable) this.#fail(fileGone(this.target.texts));
    else if (snapshot?.state === "complete") this.#end("done");
    else if (snapshot?.state === "failed") this.#fail(this.#problemOf(snapshot));
    else {
      const arrived = this.reported ? this.arrived : this.sent;
      this.#fail(connectionLost(this.target.texts, arrived, wholeBodySent));
    }
  }

  /** Whether the file can still be read: a failed request does not show which end caused it. */
  async #fileIsThere() {
    const first = await this.file.slice(0, 1).arrayBuffer().catch(() => null);
    if (first === null || this.file.size !== this.size) return false;
    return first.byteLength === Math.min(1, this.size);
  }

  /** @param {import("./progress.js").Snapshot} snapshot */
  #problemOf(snapshot) {
    return problemOfCode(this.target.texts, snapshot.code ?? "error", snapshot, this.size);
  }

  /** @param {import("../texts/problems.js").Problem} problem */
  #fail(problem) {
    // Of a destination that is another server only the person there can decide.
    const asks = problem.code === "exists" && !this.answer?.passedOn && this.target.asks;
    if (asks && !this.#decision) return this.#end("asking");
    this.problem = problem;
    this.#end("failed");
  }

  /** @param {State} state */
  #end(state) {
    this.#request = null;
    this.endedAt = performance.now();
    this.#become(state);
  }

  /** @param {State} state */
  #become(state) {
    this.state = state;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** 192 random bits: a person who guesses the id could watch or cancel the upload. */
function newUploadId() {
  const random = crypto.getRandomValues(new Uint8Array(24));
  return btoa(String.fromCharCode(...random)).replaceAll("+", "-").replaceAll("/", "_");
}
