// The state of an upload as text and as shares of the bar. Draws nothing.

import { percentUnderWay } from "./texts.js";

/** @typedef {import("../uploads/upload.js").Upload} Upload */
/** @typedef {import("./texts.js").Texts} Texts */

// After this long without progress the text says so.
const STILL_MS = 6000;

/**
 * The two layers of the bar in percent: what arrived (or was only sent), and what the destination
 * keeps. Both are 100 only after the success of the server.
 * @param {Upload} upload
 */
export function shareOf(upload) {
  if (upload.state === "done") return { front: 100, kept: 100 };
  return {
    front: percentUnderWay(upload.reported ? upload.arrived : upload.sent, upload.size),
    kept: upload.reported ? percentUnderWay(upload.kept, upload.size) : 0,
  };
}

/**
 * The meaning of the bar, for screen readers.
 * @param {Texts} texts
 * @param {Upload} upload
 */
export function barWords(texts, upload) {
  const whole = texts.bytes(upload.size);
  if (upload.state === "done") return texts.get("bar.all", { whole });
  if (!upload.active && upload.state !== "paused") return texts.get("bar.nothing");
  if (!upload.reported) return texts.get("upload.sent", { part: texts.bytes(upload.sent), whole });
  const [part, arrived] = [texts.bytes(upload.kept), texts.bytes(upload.arrived)];
  return texts.get("bar.kept", { part, whole, arrived });
}

/**
 * The state of an upload as one short text.
 * @param {Texts} texts
 * @param {Upload} upload
 * @param {number} now performance.now()
 */
export function statusWords(texts, upload, now) {
  switch (upload.state) {
    case "waiting":
      return texts.get("upload.waiting");
    case "done":
      return doneWords(texts, upload);
    case "failed":
      return upload.problem?.title ?? texts.get("upload.failed");
    case "asking":
      return texts.get("upload.asking");
    case "cancelled":
      if (upload.skipped) return texts.get("upload.skipped");
      return texts.get(upload.tooLate ? "upload.cancelled-late" : "upload.cancelled");
    case "interrupted":
      return breakWords(texts, upload, now);
    case "paused":
      return texts.get("upload.paused", { percent: keptPercent(texts, upload) });
    case "finishing":
      if (upload.waitsForBackend) return backendWords(texts, upload);
      return waitingWords(texts, upload, now);
    default:
      if (upload.waitsForBackend) return backendWords(texts, upload);
      return underWay(texts, upload, now);
  }
}

/**
 * @param {Texts} texts
 * @param {Upload} upload
 */
function doneWords(texts, upload) {
  const time = texts.duration((upload.endedAt - upload.startedAt) / 1000);
  // 202 promises nothing yet (RFC 9110 15.3.3).
  const accepted = upload.answer?.status === 202;
  return texts.get(accepted ? "upload.accepted" : "upload.stored", { time });
}

/**
 * The destination does not answer now; what was sent is here.
 * @param {Texts} texts
 * @param {Upload} upload
 */
function backendWords(texts, upload) {
  const part = texts.bytes(upload.reported ? upload.arrived : upload.sent);
  return join(texts.get("upload.backend"), texts.get("upload.arrived", { part }));
}

/**
 * The connection broke: why nothing is sent, and when it goes on.
 * @param {Texts} texts
 * @param {Upload} upload
 * @param {number} now performance.now()
 */
function breakWords(texts, upload, now) {
  const { why = "broken", until = now } = upload.pause ?? {};
  const [percent, seconds] = [keptPercent(texts, upload), Math.ceil((until - now) / 1000)];
  const goesOn = seconds > 0 && why !== "offline"
    ? texts.get("upload.goes-on-in", { percent, time: wholeTime(texts, seconds) })
    : texts.get("upload.goes-on", { percent });
  return join(texts.get(`upload.${why}`), goesOn);
}

/**
 * @param {Texts} texts
 * @param {Upload} upload
 */
function keptPercent(texts, upload) {
  return texts.percent(percentUnderWay(upload.kept, upload.size));
}

/**
 * @param {Texts} texts
 * @param {number} seconds
 */
function wholeTime(texts, seconds) {
  return seconds < 60 ? texts.get("seconds", { value: seconds }) : texts.duration(seconds);
}

/**
 * Every byte has left the browser.
 * @param {Texts} texts
 * @param {Upload} upload
 * @param {number} now performance.now()
 */
function waitingWords(texts, upload, now) {
  const whole = texts.bytes(upload.size);
  const part = texts.bytes(upload.kept);
  const missing = texts.get("upload.answer-missing");
  if (!upload.reported) {
    return join(texts.get("upload.sent-all", { whole }), waited(texts, upload, now));
  }
  if (upload.askedAt) return join(missing, waited(texts, upload, now));
  // Bytes that left the browser may still be in network buffers: "arrived" is what the server
  // reports.
  if (upload.arrived < upload.size) return underWay(texts, upload, now);
  if (upload.kept === upload.size) return missing;
  const kept = part === whole ? "" : texts.get("upload.kept", { part, whole });
  return join(texts.get("upload.writing"), kept, pace(texts, upload, now));
}

/**
 * How long the answer has been missing, from the first whole second on.
 * @param {Texts} texts
 * @param {Upload} upload
 * @param {number} now performance.now()
 */
function waited(texts, upload, now) {
  const seconds = upload.askedAt ? Math.floor((now - upload.askedAt) / 1000) : 0;
  return seconds > 0 ? wholeTime(texts, seconds) : "";
}

/**
 * @param {Texts} texts
 * @param {Upload} upload
 * @param {number} now performance.now()
 */
function underWay(texts, upload, now) {
  const whole = texts.bytes(upload.size);
  if (!upload.reported) {
    const part = texts.bytes(upload.sent);
    const key = upload.sent === 0 ? "upload.starting" : "upload.sent";
    return join(texts.get(key, { part, whole }), pace(texts, upload, now));
  }
  const kept = texts.get("upload.kept", { part: texts.bytes(upload.kept), whole });
  const arrived = texts.get("upload.arrived", { part: texts.bytes(upload.arrived) });
  return join(kept, arrived, pace(texts, upload, now));
}

/**
 * Speed and time left of uploads that share a meter, as long as one of them moves.
 * @param {Texts} texts
 * @param {Upload[]} uploads
 * @param {import("../uploads/meter.js").Meter} meter
 * @param {number} whole bytes of all
 * @param {number} now performance.now()
 */
export function paceOfAll(texts, uploads, meter, whole, now) {
  const moving = uploads.filter((upload) => upload.active && isSent(upload));
  const [first] = moving;
  if (!first) return "";
  // Of one file the line above says what its row says.
  if (uploads.filter(({ ended }) => !ended).length === 1) return pace(texts, first, now);
  if (now - meter.movedAt > STILL_MS) return "";
  return rateAndTime(texts, meter, whole, now);
}

/**
 * Whether bytes of it are on their way now.
 * @param {Upload} upload
 */
function isSent(upload) {
  if (upload.waitsForBackend || upload.state === "interrupted") return false;
  if (upload.state !== "finishing") return true;
  return upload.reported && !upload.askedAt && upload.kept < upload.size;
}

/**
 * Speed and time left, or that nothing moves.
 * @param {Texts} texts
 * @param {Upload} upload
 * @param {number} now performance.now()
 */
function pace(texts, upload, now) {
  const still = now - Math.max(upload.meter.movedAt, upload.attemptAt);
  if (still > STILL_MS) return texts.get("upload.still", { time: texts.duration(still / 1000) });
  return rateAndTime(texts, upload.meter, upload.size, now);
}

/**
 * @param {Texts} texts
 * @param {import("../uploads/meter.js").Meter} meter
 * @param {number} whole bytes
 * @param {number} now performance.now()
 */
function rateAndTime(texts, meter, whole, now) {
  const rate = meter.rate(now);
  if (!rate) return "";
  const left = meter.secondsLeft(whole, now);
  return join(texts.rate(rate), left === null ? "" : texts.timeLeft(left));
}

/** @param {string[]} parts */
function join(...parts) {
  return parts.filter(Boolean).join(" · ");
}
