// One upload: its state, and what the server reports about it. Draws nothing.
// A large file goes on after a break where the server keeps pieces (resuming/); every other one is
// a form in one request.

import { AcceptedUpload, isAccepted } from "./accepted.js";
import { Counters } from "./counters.js";
import { FormSending } from "./form-sending.js";
import { snapshotOf, watch } from "./progress.js";
import { isReadable } from "./readable.js";
import { authorizationOf, statusOf } from "./target.js";
import { Busy, FileGone, GoesOnElsewhere, NotOffered } from "../resuming/ends.js";
import { NoResponse } from "../resuming/protocol.js";
import { ResumableSending } from "../resuming/sending.js";
import {
  connectionLost, fileGone, ownProblem, problemOfAnswer, problemOfCode,
} from "../texts/problems.js";

/**
 * @typedef {"waiting" | "sending" | "interrupted" | "finishing" | "paused" | "asking" | "done"
 *   | "failed" | "cancelled"} State
 *   interrupted: the connection broke; it goes on by itself.
 *   finishing: every byte has left the browser, the server's answer has not come yet.
 *   paused: the person stopped it, and lets it go on.
 *   asking: the name is taken, and the person has to decide.
 * @typedef {"replace" | "rename" | "skip"} Decision what to do with a name that is taken
 * @typedef {import("../resuming/sending.js").Break} Break
 * @typedef {import("./response.js").Answer} Answer
 * @typedef {import("./target.js").UploadTarget} UploadTarget
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
// Bytes. What a slow line sends in half a minute; below, to go on is worth less than the two
// requests more that it takes.
const LARGE = 4 << 20;

export class Upload extends Counters {
  /** @type {State} */
  state = "waiting";
  /** Whether it was cancelled when the destination already had it. */
  tooLate = false;
  /** Why nothing is sent now, and until when. @type {Break | null} */
  pause = null;
  /** What was answered, of whatever kind. @type {import("./response.js").Answer | null} */
  answer = null;
  /** @type {import("../texts/problems.js").Problem | null} */
  problem = null;
  startedAt = 0;
  endedAt = 0;
  /** Whether no other file is sent now, nor waits for that. */
  alone = () => true;
  /** Where the server tells about this attempt. */
  #status = "";
  /** What sends it, also while it is paused, or waits for the outcome.
   * @type {FormSending | ResumableSending | AcceptedUpload | null} */
  #sending = null;
  /** What was decided about a name that is taken. @type {Decision | ""} */
  #decision = "";

  /**
   * @param {File} file
   * @param {UploadTarget} target
   * @param {string} [path] where it lay in a dropped or chosen folder: sent as its name, and shown
   */
  constructor(file, target, path = file.name) {
    // Read once: Chromium reports a file that was deleted from the disk as empty.
    super(file.size);
    this.file = file;
    this.target = target;
    this.path = path;
  }

  get active() {
    return ["sending", "finishing", "interrupted"].includes(this.state);
  }

  /** How many send its bytes. */
  get connections() {
    return this.#sending instanceof ResumableSending ? this.#sending.connections : 1;
  }

  get ended() {
    return this.state === "done" || this.state === "failed" || this.state === "cancelled";
  }

  /** Whether it can be paused: a form in one request cannot. */
  get pausable() {
    const goesOn = this.#sending instanceof ResumableSending && this.#sending.begun;
    return goesOn && (this.state === "sending" || this.state === "interrupted");
  }

  /** Back to the queue, as if nothing had been sent. */
  reset() {
    this.clear();
    this.tooLate = false;
    this.startedAt = 0;
    this.problem = this.answer = this.pause = this.#sending = null;
    this.#become("waiting");
  }

  /** Send it, or what of it is missing. */
  start() {
    this.startedAt ||= performance.now();
    // Fields stand in a form.
    const isLarge = this.size >= LARGE && !this.target.fields?.length;
    this.#run(isLarge ? ResumableSending : FormSending);
  }

  /** Stop. A file that the destination already has stays there; then `tooLate` is set. */
  cancel() {
    if (this.ended) return;
    const settled = this.state === "finishing";
    this.#sending?.stop();
    this.abandon();
    this.#end("cancelled");
    if (settled) this.#wasTooLate();
  }

  /** It is given up: what the server keeps of a large file is removed. */
  abandon() {
    const sending = this.#sending;
    const isKept = sending instanceof ResumableSending || sending instanceof AcceptedUpload;
    if (isKept && this.state !== "done") sending.end();
  }

  /** Send no more until `goOn`. What the server keeps stays there. */
  hold() {
    if (!this.pausable) return;
    this.#sending?.stop();
    this.#stand("paused", null);
  }

  /** Back to the queue; it goes on where it was. */
  goOn() {
    if (this.state === "paused") this.#become("waiting");
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
    return snapshotOf(this.#status, authorizationOf(this.target)).catch(() => null);
  }

  /* ---- what sends it ---- */

  /** @param {typeof FormSending | typeof ResumableSending} Kind */
  async #run(Kind) {
    const { file, path, target } = this;
    /** @type {<T extends unknown[]>(report: (...args: T) => void) => (...args: T) => void} */
    const current = (report) => (...args) => {
      if (sending === this.#sending && this.active) report(...args);
    };
    const sending = new Kind({
      file,
      path,
      endpoint: new URL(target.endpoint, document.baseURI).href,
      fields: target.fields ?? [],
      fileField: target.fileField ?? "file",
      conflict: this.#decision,
      status: (id) => statusOf(target, id),
      connections: target.connections ?? 0,
      alone: () => this.alone(),
      headers: () => authorizationOf(target),
      readable: () => isReadable(this.file, this.size),
      movedAt: () => this.movedAt,
      begins: current((id, ...request) => this.#begins(id, ...request)),
      beside: current((kept) => {
        this.countBeside(kept);
        this.#changed();
      }),
      frees: current(() => this.dispatchEvent(new Event("frees"))),
      left: current((loaded, overhead) => {
        this.countLeft(loaded, overhead);
        this.#changed();
      }),
      all: current(() => this.#allLeft()),
      breaks: current((pause) => this.#stand("interrupted", pause)),
    });
    this.#sending = sending;
    this.#become("sending");
    try {
      const answer = await sending.run();
      if (sending === this.#sending && this.active) this.#answered(answer);
    } catch (error) {
      if (sending === this.#sending && this.active) await this.#broken(error, sending);
    }
  }

  /**
   * A request begins that sends the bytes from an offset on.
   * @param {string} id
   * @param {number} offset bytes that the server keeps
   * @param {AbortSignal} signal
   * @param {boolean} [goesOn]
   */
  #begins(id, offset, signal, goesOn) {
    this.#status = statusOf(this.target, id);
    this.countFrom(offset, goesOn);
    this.pause = null;
    const timer = setTimeout(() => this.#watch(this.#status, signal), WATCH_AFTER_MS);
    signal.addEventListener("abort", () => clearTimeout(timer));
    this.#become("sending");
  }

  #allLeft() {
    if (this.state !== "sending") return;
    if (!this.reported) this.askedAt = performance.now();
    this.#become("finishing");
  }

  /**
   * Nothing is under way for now.
   * @param {State} state
   * @param {Break | null} pause
   */
  #stand(state, pause) {
    this.pause = pause;
    this.countKeptOnly();
    this.#become(state);
  }

  /* ---- what the server reports ---- */

  /**
   * @param {string} url
   * @param {AbortSignal} signal
   */
  #watch(url, signal) {
    const headers = authorizationOf(this.target);
    watch(url, headers, signal, (snapshot) => this.#report(snapshot)).catch(() => {
      // The server reports nothing: the row shows what was sent.
    });
  }

  /** @param {import("./progress.js").Snapshot} snapshot */
  #report(snapshot) {
    if (!this.active || this.state === "interrupted") return;
    if (snapshot.state === "waiting" && !snapshot.waiting_for) return;
    this.countReported(snapshot);
    if (this.#sending instanceof ResumableSending) this.#sending.noteKept(this.kept);
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
    const [sending, attempt] = [this.#sending, this.attemptAt];
    setTimeout(() => {
      if (!this.active || sending !== this.#sending || attempt !== this.attemptAt) return;
      sending?.stop();
      this.abandon();
      this.#fail(problemOfCode(this.target.texts, snapshot.code ?? "error", snapshot, this.size));
    }, ANSWER_GRACE_MS);
  }

  /* ---- how it ends ---- */

  /** @param {import("./response.js").Answer | null} answer null: stored, and the answer is lost */
  #answered(answer) {
    if (answer && isAccepted(answer)) return void this.#accepted(answer);
    this.answer = answer;
    if (!answer || (answer.status >= 200 && answer.status <= 299)) this.#end("done");
    else this.#fail(problemOfAnswer(this.target.texts, answer, this.size));
  }

  /**
   * The server has the file, and gives it to the destination when that is back.
   * @param {Answer} answer
   */
  async #accepted(answer) {
    const id = answer.entry?.upload?.split("/").at(-1) ?? "";
    this.#status = statusOf(this.target, id);
    const accepted = new AcceptedUpload(this.#status, authorizationOf(this.target));
    this.#sending = accepted;
    this.waitsForBackend = true;
    this.#become("finishing");
    const last = await accepted.run((snapshot) => this.#report(snapshot));
    if (accepted !== this.#sending || !this.active) return;
    if (last?.state === "complete") this.#answered(null);
    else if (last) this.#fail(this.#problemOf(last));
    else this.#fail(connectionLost(this.target.texts, this.arrived, true));
  }

  /**
   * @param {unknown} error
   * @param {FormSending | ResumableSending} sending
   */
  async #broken(error, sending) {
    const { texts } = this.target;
    if (error instanceof NotOffered) this.#run(FormSending);
    else if (error instanceof Busy) this.#fail(problemOfCode(texts, "unavailable", {}, this.size));
    else if (error instanceof GoesOnElsewhere) this.#fail(ownProblem(texts, "elsewhere"));
    else if (error instanceof FileGone) this.#fail(fileGone(texts));
    else if (error instanceof NoResponse) await this.#noResponse(sending);
    else throw error;
  }

  /**
   * A form got no response: ask the server for the result first.
   * @param {FormSending | ResumableSending} sending
   */
  async #noResponse(sending) {
    const readable = await isReadable(this.file, this.size);
    const wholeBodySent = this.state === "finishing";
    const snapshot = wholeBodySent ? await this.#ask() : null;
    if (!this.active || sending !== this.#sending) return;
    if (!readable) this.#fail(fileGone(this.target.texts));
    else if (snapshot?.state === "complete") this.#end("done");
    else if (snapshot?.state === "failed") this.#fail(this.#problemOf(snapshot));
    else {
      const arrived = this.reported ? this.arrived : this.sent;
      this.#fail(connectionLost(this.target.texts, arrived, wholeBodySent));
    }
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
