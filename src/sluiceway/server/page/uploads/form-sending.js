// Sends a file as a form in one request. Draws nothing.
// Each attempt has an id of its own, so that nothing a former one left behind can be mistaken for
// this one.

import { readAnswer } from "./response.js";
import { NoResponse } from "../resuming/protocol.js";

/** @typedef {import("../resuming/sending.js").Sender} Sender */

export class FormSending {
  #request = new XMLHttpRequest();

  /** @param {Sender} sender */
  constructor(sender) {
    this.sender = sender;
  }

  /**
   * Resolves with the server's answer.
   * @returns {Promise<import("./response.js").Answer | null>}
   * @throws {NoResponse}
   */
  async run() {
    const { endpoint, conflict, headers, begins } = this.sender;
    const id = newUploadId();
    const url = new URL(endpoint);
    url.searchParams.set("upload", id);
    if (conflict) url.searchParams.set("conflict", conflict);
    const watching = new AbortController();
    begins(id, 0, watching.signal);
    try {
      await this.#send(url, { ...headers(), Accept: "application/json" });
      return readAnswer(this.#request);
    } finally {
      watching.abort();
    }
  }

  stop() {
    this.#request.abort();
  }

  /**
   * @param {URL} url
   * @param {Record<string, string>} headers
   */
  #send(url, headers) {
    const request = this.#request;
    return new Promise((resolve, reject) => {
      request.upload.onprogress = (event) => this.#left(event);
      request.upload.onload = (event) => {
        this.#left(event);
        this.sender.all();
      };
      request.onload = resolve;
      request.onerror = request.onabort = () => reject(new NoResponse());
      request.open("POST", url);
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      request.send(this.#form());
    });
  }

  /** @param {ProgressEvent} event of the body */
  #left({ loaded, total }) {
    // Only here the body's own overhead (fields, part headers) becomes known.
    const overhead = Math.max(0, total - this.sender.file.size);
    this.sender.left(loaded, overhead);
  }

  /** Fields first: a server that reads the form in one pass knows them before the file begins. */
  #form() {
    const { file, path, fields, fileField } = this.sender;
    const form = new FormData();
    for (const [name, value] of fields) form.append(name, value);
    // With the folders it lay in, as browsers send it for <input webkitdirectory>.
    form.append(fileField, file, path);
    return form;
  }
}

/** 192 random bits: a person who guesses the id could watch or cancel the upload. */
function newUploadId() {
  const random = crypto.getRandomValues(new Uint8Array(24));
  return btoa(String.fromCharCode(...random)).replaceAll("+", "-").replaceAll("/", "_");
}
