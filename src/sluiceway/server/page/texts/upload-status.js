// The state of an upload as text and as shares of the bar. Draws nothing.

import { bytes, duration, percentUnderWay, timeLeft } from "./format.js";

/** @typedef {import("../uploads/upload.js").Upload} Upload */

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
 * @param {Upload} upload
 */
export function barWords(upload) {
  const whole = bytes(upload.size);
  if (upload.state === "done") return `all ${whole} kept`;
  if (!upload.active) return "nothing kept";
  if (!upload.reported) return `sent ${bytes(upload.sent)} of ${whole}`;
  return `kept ${bytes(upload.kept)} of ${whole}, arrived ${bytes(upload.arrived)}`;
}

/**
 * The state of an upload in one line.
 * @param {Upload} upload
 * @param {number} now performance.now()
 */
export function statusWords(upload, now) {
  const whole = bytes(upload.size);
  switch (upload.state) {
    case "waiting":
      return "waiting for its turn";
    case "done":
      return doneWords(upload);
    case "failed":
      return upload.problem?.title ?? "failed";
    case "cancelled":
      return upload.tooLate ? "cancelled too late: it is stored" : "cancelled, nothing was stored";
    case "settling":
      if (!upload.reported) return join(`sent all ${whole} – waiting for the server's answer`, waited(upload, now));
      if (upload.askedAt) return join("arrived – waiting for the destination's answer", waited(upload, now));
      // Bytes that left the browser may still be in network buffers: "arrived" is what the server reports.
      if (upload.arrived < upload.size) return underWay(upload, now);
      if (upload.kept < upload.size) {
        const kept = bytes(upload.kept) === whole ? "" : `kept ${bytes(upload.kept)} of ${whole}`;
        return join("arrived – the destination is still writing", kept, pace(upload, now));
      }
      return "arrived – waiting for the destination's answer";
    default:
      return underWay(upload, now);
  }
}

/** @param {Upload} upload */
function doneWords(upload) {
  const took = duration((upload.endedAt - upload.startedAt) / 1000);
  // 202 promises nothing yet (RFC 9110 15.3.3).
  if (upload.answer?.status === 202) return `accepted in ${took}; the destination may still be at work on it`;
  return `stored, finished in ${took}`;
}

/**
 * How long the answer has been missing, from the first whole second on.
 * @param {Upload} upload
 * @param {number} now performance.now()
 */
function waited(upload, now) {
  const seconds = upload.askedAt ? Math.floor((now - upload.askedAt) / 1000) : 0;
  if (seconds < 60) return seconds > 0 ? `${seconds} s` : "";
  return duration(seconds);
}

/**
 * @param {Upload} upload
 * @param {number} now performance.now()
 */
function underWay(upload, now) {
  const whole = bytes(upload.size);
  if (upload.reported) return join(`kept ${bytes(upload.kept)} of ${whole}`, `arrived ${bytes(upload.arrived)}`, pace(upload, now));
  return join(upload.sent === 0 ? "starting" : `sent ${bytes(upload.sent)} of ${whole}`, pace(upload, now));
}

/**
 * Speed and time left, or that nothing moves.
 * @param {Upload} upload
 * @param {number} now performance.now()
 */
function pace(upload, now) {
  const still = now - Math.max(upload.meter.movedAt, upload.startedAt);
  if (still > STILL_MS) return `nothing moved for ${duration(still / 1000)}`;
  const rate = upload.meter.rate(now);
  if (!rate) return "";
  const left = upload.meter.secondsLeft(upload.size, now);
  return join(`${bytes(rate)}/s`, left === null ? "" : timeLeft(left));
}

/** @param {string[]} parts */
function join(...parts) {
  return parts.filter(Boolean).join(" · ");
}
