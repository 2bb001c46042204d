// A file that the server has, and whose destination does not take it now: the answer was 202.
// Waits for the outcome. Draws nothing.

import { endUpload } from "../resuming/protocol.js";
import { watch } from "./progress.js";

/** @typedef {import("./progress.js").Snapshot} Snapshot */
/** @typedef {import("./response.js").Answer} Answer */

/**
 * Whether the file still waits on its way.
 * @param {Answer | null} answer
 */
export function isAccepted(answer) {
  return answer?.status === 202 && !answer.passedOn && answer.entry?.state === "waiting";
}

export class AcceptedUpload {
  #stop = new AbortController();

  /**
   * @param {string} url of the upload
   * @param {Record<string, string>} headers
   */
  constructor(url, headers) {
    this.url = url;
    this.headers = headers;
  }

  /**
   * Resolves with the last snapshot of the upload; null: the server reports nothing any more.
   * @param {(snapshot: Snapshot) => void} report
   */
  async run(report) {
    /** @type {Snapshot | null} */
    let last = null;
    await watch(this.url, this.headers, this.#stop.signal, (snapshot) => {
      last = snapshot;
      report(snapshot);
    }).catch(() => null);
    return /** @type {Snapshot | null} */ (last);
  }

  /** Look no more. */
  stop() {
    this.#stop.abort();
  }

  /** Have the server forget it. */
  async end() {
    this.stop();
    await endUpload(this.url, this.headers);
  }
}
