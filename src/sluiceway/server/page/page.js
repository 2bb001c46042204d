// The page: joins the intake, the queue, the rows and the list of stored files.

import { acceptDrops, ofChooser, ofDrop, ofPaste, ofText } from "./elements/dropped-files.js";
import { connectionsOf } from "./elements/drop-attributes.js";
import { copyButton } from "./elements/copy-button.js";
import { texts } from "./texts/page-texts.js";
import { percentUnderWay } from "./texts/texts.js";
import { paceOfAll } from "./texts/upload-status.js";
import { Meter } from "./uploads/meter.js";
import { Queue } from "./uploads/queue.js";
import { part, Row } from "./uploads/row.js";
import { Announcer } from "./announcer.js";
import { ConflictDialog } from "./uploads/conflict-dialog.js";
import { StoredFiles } from "./list/stored-files.js";
import { Upload } from "./uploads/upload.js";
import { isHeldHere } from "./resuming/tabs.js";
import { UnfinishedUploads } from "./resuming/unfinished.js";

/** @typedef {import("./elements/dropped-files.js").Found} Found */

// Browsers open six connections to a server, over all tabs; an upload takes two of them, its event
// stream included.
const PARALLEL = 2;
// A dropped folder may hold ten thousand files. Those that run or failed always have a row; of the
// others these many, and of the done ones more when nothing runs any more.
const WAITING_ROWS = 20;
const DONE_ROWS_BUSY = 10;
const DONE_ROWS = 200;
// So many finished rows and more fold together.
const FOLD_FROM = 6;
const TICK_MS = 1000;
// The name of the page, without what the title adds.
const NAME = document.title;

// Relative to this module, so that the page also works below a prefix.
const FILES = new URL("../files", import.meta.url).href;
const UPLOADS = new URL("../uploads", import.meta.url).href;

const body = document.body;
// What the token or link of this visitor lets them do here.
const allowed = new Set((body.dataset.allowed ?? "").split(" "));
const allows = (/** @type {string} */ what) => allowed.has(what);
const queue = new Queue(PARALLEL);
const announcer = new Announcer(part(body, "#announcer"));
const stored = new StoredFiles(part(body, "#stored"), FILES, {
  announce: (words) => announcer.say(words),
  busy: () => queue.busy,
});
const unfinished = new UnfinishedUploads(part(body, "#unfinished"), FILES, {
  take: (file, path) => take([{ file, path }]),
  isTaken: ({ url, path, size, modified }) => isHeldHere(url) || queue.uploads.some((upload) => (
    !isFinished(upload) && upload.path === path && upload.size === size
      && upload.file.lastModified === modified
  )),
  announce: (words) => announcer.show(words),
});
const conflicts = /** @type {HTMLDialogElement} */ (part(body, "#conflict-dialog"));
new ConflictDialog(conflicts, queue);
/** @type {Map<Upload, Row>} */
const rows = new Map();
/** @type {Set<Upload>} */
const stale = new Set();
let overall = new Meter();

/** @param {Found[]} found */
function take(found) {
  if (found.length === 0 || !allows("upload")) return;
  if (!queue.busy) overall = new Meter();
  const connections = connectionsOf(document.documentElement.dataset.connections);
  const target = { endpoint: FILES, uploads: UPLOADS, texts, asks: true, connections };
  const uploads = found.map(({ file, path }) => new Upload(file, target, path));
  announcer.say(texts.get("intake.added", { count: uploads.length }));
  queue.add(uploads);
  unfinished.hideTaken();
}

/** @param {DataTransfer} transfer */
async function takeDrop(transfer) {
  const { found, unreadable } = await ofDrop(transfer);
  take(found);
  if (unreadable.length) {
    announcer.show(texts.get("intake.unreadable", { names: unreadable.join(", ") }));
  } else if (found.length === 0) announcer.show(texts.get("intake.nothing"));
}

/* ---- rows ---- */

/** @param {Upload} upload */
function rowOf(upload) {
  let row = rows.get(upload);
  if (!row) {
    row = new Row(upload, {
      pause: () => queue.hold(upload),
      "go-on": () => queue.goOn(upload),
      cancel: () => upload.cancel(),
      retry: () => queue.retry(upload),
      dismiss: () => {
        upload.abandon();
        queue.forget((other) => other === upload);
      },
    });
    rows.set(upload, row);
  }
  return row;
}

/** Which uploads have a row now, in the order they were added. */
function chooseShown() {
  const doneRows = queue.busy ? DONE_ROWS_BUSY : DONE_ROWS;
  let waiting = 0;
  let over = queue.uploads.filter(isFinished).length - doneRows;
  return queue.uploads.filter((upload) => {
    if (upload.state === "waiting") return ++waiting <= WAITING_ROWS;
    if (isFinished(upload)) return over-- <= 0;
    return true;
  });
}

/** @param {Upload} upload */
function isFinished({ state }) {
  return state === "done" || state === "cancelled";
}

function arrangeRows() {
  const list = part(body, "#rows");
  const shown = new Set(chooseShown());
  let focusAt = -1;
  for (const [upload, row] of rows) {
    if (shown.has(upload)) continue;
    if (row.element.contains(document.activeElement)) {
      focusAt = [...list.children].indexOf(row.element);
    }
    row.element.remove();
    rows.delete(upload);
  }
  const finished = [...shown].filter(isFinished);
  const folds = finished.length >= FOLD_FROM;
  part(body, "#finished").hidden = !folds;
  const count = queue.uploads.filter(isFinished).length;
  part(body, "#finished-title").textContent = texts.get("queue.finished", { count });
  place(part(body, "#finished-rows"), folds ? finished : []);
  place(list, folds ? [...shown].filter((upload) => !isFinished(upload)) : [...shown]);
  list.hidden = list.children.length === 0;
  if (focusAt >= 0) focusRow(list.children[Math.min(focusAt, list.children.length - 1)]);
}

/**
 * Make these rows, in this order, the content of a list. Rows that are right are not touched.
 * @param {HTMLElement} list
 * @param {Upload[]} uploads
 */
function place(list, uploads) {
  let next = list.firstElementChild;
  for (const upload of uploads) {
    const { element } = rowOf(upload);
    if (element === next) next = element.nextElementSibling;
    else list.insertBefore(element, next);
  }
}

/**
 * The row that was focused is gone: its neighbour takes over, or the place where new files come in.
 * @param {Element | undefined} row
 */
function focusRow(row) {
  const button = row?.querySelector(".row-buttons button:not([hidden])");
  (button instanceof HTMLElement ? button : part(body, "#choose-files")).focus();
}

/* ---- the line above the rows ---- */

function drawSummary() {
  const totals = queue.totals;
  const hidden = queue.uploads.length - rows.size;
  const under = totals.active + totals.waiting > 0;
  overall.add(totals.counted, performance.now());
  part(body, "#queue").hidden = queue.uploads.length === 0;
  part(body, "#legend").hidden = !under;
  const byNetwork = queue.uploads.some(({ active, networkOnly }) => active && networkOnly);
  const kept = byNetwork ? "legend.kept-by-network" : "legend.kept";
  part(body, "#legend-kept").textContent = texts.get(kept);
  part(body, "#summary").textContent = summaryWords(totals, under);
  part(body, "#unshown").hidden = hidden === 0 || !under;
  part(body, "#unshown").textContent = texts.get("queue.not-shown", { count: hidden });
  const again = queue.retryable.length;
  const retry = part(body, "#retry-failed");
  retry.hidden = again === 0 && !(queue.paused && totals.waiting > 0);
  retry.textContent = again > 0
    ? texts.get("queue.retry", { count: again })
    : texts.get("queue.resume");
  part(body, "#cancel-all").hidden = totals.active + totals.waiting < 2;
  part(body, "#clear").hidden = !queue.uploads.some(isFinished);
  document.title = titleWords(totals, under);
}

/**
 * @param {import("./uploads/queue.js").Totals} totals
 * @param {boolean} under
 */
function summaryWords(totals, under) {
  const words = [];
  const { count, done, failed, waiting } = totals;
  if (under || done < count) words.push(texts.get("queue.done-of", { done, total: count }));
  else if (count > 0) words.push(texts.get("queue.stored", { count }));
  if (failed) words.push(texts.get("queue.failed", { count: failed }));
  if (queue.paused && waiting) words.push(texts.get("queue.paused", { count: waiting }));
  words.push(paceOfAll(texts, queue.uploads, overall, totals.size, performance.now()));
  return words.filter(Boolean).join(" · ");
}

/**
 * @param {import("./uploads/queue.js").Totals} totals
 * @param {boolean} under
 */
function titleWords(totals, under) {
  const { count, done, failed } = totals;
  const percent = texts.percent(percentUnderWay(totals.counted, totals.size));
  const progress = { percent, done, total: count };
  if (under) return `${texts.get("queue.title-progress", progress)} – ${NAME}`;
  if (failed) return `${texts.get("queue.failed", { count: failed })} – ${NAME}`;
  return done ? `${texts.get("queue.stored", { count: done })} – ${NAME}` : NAME;
}

/* ---- drawing ---- */

let drawing = false;

/** At most once a frame, whatever the number of changes. */
function drawSoon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(draw);
}

function draw() {
  drawing = false;
  arrangeRows();
  for (const upload of stale) rows.get(upload)?.draw();
  stale.clear();
  drawSummary();
}

queue.addEventListener("change", (event) => {
  /** @type {Upload | null} */
  const upload = /** @type {CustomEvent} */ (event).detail;
  if (upload) {
    stale.add(upload);
    announcer.follow(upload);
    if (upload.state === "done") showStored(upload);
    else if (upload.tooLate && allows("list")) stored.refreshSoon();
  }
  drawSoon();
});

/** @type {WeakSet<Upload>} */
const listed = new WeakSet();

/** @param {Upload} upload */
function showStored(upload) {
  if (listed.has(upload)) return;
  listed.add(upload);
  const { answer } = upload;
  if (!allows("list")) return;
  if (answer?.entry?.key && answer.link && !answer.passedOn) stored.add(answer.entry);
  else stored.refreshSoon();
}

// Speeds fall and times run on without any event; hidden pages draw no frames but still have a
// title.
setInterval(() => {
  for (const upload of queue.uploads) if (upload.active) stale.add(upload);
  if (stale.size > 0) draw();
}, TICK_MS);

/* ---- the intake ---- */

// Some phones cannot choose folders.
part(body, "#choose-folder").hidden = !("webkitdirectory" in HTMLInputElement.prototype);

for (const [button, input] of [["#choose-files", "#files"], ["#choose-folder", "#folder"]]) {
  const field = /** @type {HTMLInputElement} */ (part(body, input));
  part(body, button).addEventListener("click", () => field.click());
  field.addEventListener("change", () => {
    take(ofChooser(field.files));
    // Choosing the same file once more is a wish too.
    field.value = "";
  });
}

acceptDrops(document.documentElement, takeDrop, (dragged) => {
  const veil = part(body, "#veil");
  veil.hidden = dragged === null;
  const count = [...(dragged?.items ?? [])].filter((item) => item.kind === "file").length;
  const items = { count: Math.max(1, count) };
  if (dragged) part(body, "#veil-text").textContent = texts.get("intake.let-go", items);
});

const pastedName = (/** @type {string} */ time) => texts.get("offer.filename", { time });
let pasted = "";
document.addEventListener("paste", (event) => {
  const found = ofPaste(event.clipboardData, pastedName);
  take(found);
  if (found.length) return;
  // Text is offered and not taken at once: a clipboard often holds what is nobody's business.
  pasted = event.clipboardData?.getData("text/plain") ?? "";
  part(body, "#offer").hidden = !pasted;
  const count = [...pasted].length;
  part(body, "#offer-text").textContent = texts.get("offer.question", { count });
  if (pasted) part(body, "#offer-yes").focus();
});
const closeOffer = () => {
  pasted = "";
  part(body, "#offer").hidden = true;
  part(body, "#choose-files").focus();
};
part(body, "#offer-yes").addEventListener("click", () => {
  take([ofText(pasted, pastedName)]);
  closeOffer();
});
part(body, "#offer-no").addEventListener("click", closeOffer);
part(body, "#offer").addEventListener("keydown", (event) => event.key === "Escape" && closeOffer());

part(body, "#retry-failed").addEventListener("click", () => queue.retryFailed());
part(body, "#cancel-all").addEventListener("click", () => queue.cancelAll());
part(body, "#clear").addEventListener("click", () => {
  queue.forget();
  part(body, "#choose-files").focus();
});

/* ---- the lines for terminals ---- */

const curl = `curl -T big.iso ${FILES}/big.iso`;
const python = `import requests

with open("big.iso", "rb") as file:
    answer = requests.put("${FILES}/big.iso", data=file)
answer.raise_for_status()`;
for (const [id, words] of [["line-curl", curl], ["line-python", python]]) {
  part(body, `#${id}`).textContent = words;
  const button = part(body, `[data-copy=${id}]`);
  const label = button.getAttribute("aria-label") ?? "";
  copyButton(button, () => words, () => label);
}

// Shown now that its texts are there and it takes files.
part(body, "#page").hidden = false;
part(body, "#intake").hidden = !allows("upload");
part(body, "#stored").hidden = !allows("list");
if (allows("list")) stored.refresh();
if (allows("upload")) unfinished.ask();
