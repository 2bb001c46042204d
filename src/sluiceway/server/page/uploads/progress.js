// The progress of one upload: its event stream, or a request a second if no stream gets through.
// Uses fetch: EventSource cannot send a token, hides the status, and reconnects after the end.

/**
 * @typedef {object} Snapshot
 * @property {string} state waiting | receiving | checking | complete | failed | cancelled
 * @property {number} received bytes of the body that reached the server
 * @property {number} forwarded bytes handed to the destination
 * @property {number} kept bytes the destination has acknowledged
 * @property {"kernel" | "spool" | "destination"} [kept_by] who acknowledged them: kernel is the
 *   destination's network alone
 * @property {"backend"} [waiting_for] the destination does not answer now
 * @property {number | null} length
 * @property {string | null} [code]
 * @property {string} [title]
 * @property {string} [detail]
 */

// If a stream stays silent this long, a proxy is buffering it.
const FIRST_WORD_MS = 5000;
// A stream that was cut is opened again this often; then the page polls.
const REOPENINGS = 2;
const ASK_EVERY_MS = 1000;

const ENDED = new Set(["complete", "failed", "cancelled"]);

/**
 * Report every snapshot until the upload ends. Rejects if the server reports no progress, or on
 * abort.
 * @param {string} url of the upload
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 * @param {(snapshot: Snapshot) => void} report
 */
export async function watch(url, headers, signal, report) {
  for (let opened = 0; opened <= REOPENINGS; opened += 1) {
    try {
      if (await listen(url, headers, signal, report)) return;
    } catch (error) {
      if (signal.aborted || error instanceof NotOffered) throw error;
      if (error instanceof Silence) break;
    }
    await pause(ASK_EVERY_MS, signal);
  }
  await ask(url, headers, signal, report);
}

/** The server reports no progress, or not to us. */
class NotOffered extends Error {}

/** The stream is open but nothing arrives. */
class Silence extends Error {}

/**
 * Read the event stream; true when the upload has ended, false when the stream was closed before.
 * @type {(...args: Parameters<typeof watch>) => Promise<boolean>}
 */
async function listen(url, headers, signal, report) {
  const stop = new AbortController();
  const onAbort = () => stop.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  const silence = setTimeout(() => stop.abort(new Silence()), FIRST_WORD_MS);
  try {
    const answer = await fetch(url, {
      headers: { ...headers, Accept: "text/event-stream" },
      cache: "no-store",
      signal: stop.signal,
    });
    const type = answer.headers.get("Content-Type") ?? "";
    if (!answer.ok || !answer.body || !type.startsWith("text/event-stream")) {
      stop.abort();
      throw new NotOffered(String(answer.status));
    }
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      clearTimeout(silence);
      const blocks = (held + value).split(/\r?\n\r?\n/);
      held = blocks.pop() ?? "";
      for (const block of blocks) {
        const snapshot = parse(block);
        if (snapshot) report(snapshot);
        if (snapshot && ENDED.has(snapshot.state)) return true;
      }
    }
  } finally {
    clearTimeout(silence);
    signal.removeEventListener("abort", onAbort);
    stop.abort();
  }
}

/**
 * One event of the stream; comments (heartbeats) and events of other kinds give null.
 * @param {string} block
 * @returns {Snapshot | null}
 */
function parse(block) {
  let event = "message";
  let data = "";
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    if (line.startsWith("data:")) data += line.slice(5).trimStart();
  }
  return event === "progress" || event === "end" ? JSON.parse(data) : null;
}

/**
 * The same by plain questions. Not knowing the upload (404) is an answer too: its body may still be
 * in a proxy.
 * @type {(...args: Parameters<typeof watch>) => Promise<void>}
 */
async function ask(url, headers, signal, report) {
  for (;;) {
    const snapshot = await snapshotOf(url, headers, signal);
    if (snapshot) report(snapshot);
    if (snapshot && ENDED.has(snapshot.state)) return;
    await pause(ASK_EVERY_MS, signal);
  }
}

/**
 * What the server knows of an upload now, or null when it knows nothing.
 * @param {string} url
 * @param {Record<string, string>} headers
 * @param {AbortSignal} [signal]
 * @returns {Promise<Snapshot | null>}
 */
export async function snapshotOf(url, headers, signal) {
  const asked = { ...headers, Accept: "application/json" };
  const answer = await fetch(url, { headers: asked, cache: "no-store", signal });
  return answer.ok ? answer.json() : null;
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 */
function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener("abort", stop, { once: true });
  });
}
