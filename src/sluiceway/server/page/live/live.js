// The view of what runs, for an admin: asks once a second while it is seen, and ends what is asked.

import { texts } from "../texts/page-texts.js";
import { LiveRow, nameOf, part, waitsFor } from "./live-row.js";

/** @typedef {import("./live-row.js").Running} Running */

const LOOK_MS = 1000;
// After failures the next look comes later each time, up to this.
const LONGEST_WAIT_MS = 15000;
const ANSWER_MS = 10000;
// So many rows at once: more would be no view of anything.
const MOST_ROWS = 500;

// Relative to this module, so that the page also works below a prefix.
const UPLOADS = new URL("../../uploads", import.meta.url).href;

/** @type {Map<string, LiveRow>} */
const rows = new Map();
/** @type {Running[]} */
let running = [];
let isPaused = false;
let failures = 0;
/** @type {number | undefined} */
let timer;

const list = part(document, "#rows");
const search = /** @type {HTMLInputElement} */ (part(document, "#search"));
const owner = /** @type {HTMLSelectElement} */ (part(document, "#owner"));
const stage = /** @type {HTMLSelectElement} */ (part(document, "#stage"));
const dialog = /** @type {HTMLDialogElement} */ (part(document, "#cancel-dialog"));

async function look() {
  clearTimeout(timer);
  try {
    const answer = await fetch(`${UPLOADS}?limit=${MOST_ROWS}`, {
      headers: { accept: "application/json" },
      cache: "no-store",
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    if (!answer.ok) throw new Refused(answer.status);
    const { uploads, truncated } = await answer.json();
    failures = 0;
    say("");
    part(document, "#more").hidden = !truncated;
    running = [...uploads].sort(byAge);
    show();
  } catch (error) {
    failures += 1;
    const refused = error instanceof Refused && [401, 403].includes(error.status);
    say(texts.get(refused ? "live.refused" : "live.unreachable"));
  }
  if (!isPaused && !document.hidden) {
    timer = setTimeout(look, Math.min(LONGEST_WAIT_MS, LOOK_MS * 2 ** Math.min(failures, 4)));
  }
}

class Refused extends Error {
  /** @param {number} status */
  constructor(status) {
    super();
    this.status = status;
  }
}

/**
 * The oldest first: a row keeps its place.
 * @param {Running} one
 * @param {Running} other
 */
function byAge(one, other) {
  return other.seconds - one.seconds || (one.id < other.id ? -1 : 1);
}

/** @param {Running} upload */
function isChosen(upload) {
  const words = search.value.trim().toLocaleLowerCase();
  return (!owner.value || upload.name === owner.value)
    && (!stage.value || waitsFor(upload) === stage.value)
    && (!words || nameOf(upload).toLocaleLowerCase().includes(words));
}

function show() {
  const chosen = running.filter(isChosen);
  const shown = new Set(chosen.map(({ id }) => id));
  for (const [id, row] of rows) {
    if (shown.has(id)) continue;
    // Whoever had the focus in it goes on at the top, not at nowhere.
    if (row.element.contains(document.activeElement)) part(document, "#live-title").focus();
    row.element.remove();
    rows.delete(id);
  }
  chosen.forEach((upload, at) => {
    const row = rows.get(upload.id) ?? new LiveRow(upload, cancel);
    rows.set(upload.id, row);
    row.show(upload);
    // A row that moves would lose the focus.
    if (list.children[at] !== row.element) list.insertBefore(row.element, list.children[at]);
  });
  offerOwners();
  const rate = chosen.reduce((sum, upload) => sum + upload.bytes_per_second, 0);
  const count = chosen.length;
  part(document, "#summary").textContent = count === 0 ? ""
    : texts.get("live.summary", { count, rate: texts.rate(rate) });
  part(document, "#legend").hidden = count === 0;
  part(document, "#tools").hidden = running.length < 2 && !isFiltered();
  const nothing = part(document, "#nothing");
  nothing.hidden = count > 0;
  const words = texts.get(running.length ? "live.none-chosen" : "live.nothing");
  if (nothing.textContent !== words) nothing.textContent = words;
}

function isFiltered() {
  return Boolean(search.value || owner.value || stage.value);
}

/** The names of those that upload now, and of the one that is chosen. */
function offerOwners() {
  const names = new Set(running.map(({ name }) => name).filter(Boolean));
  if (owner.value) names.add(owner.value);
  const sorted = [...names].sort();
  const offered = [...owner.options].slice(1).map(({ value }) => value);
  owner.hidden = sorted.length === 0;
  if (sorted.join(" ") === offered.join(" ")) return;
  const chosen = owner.value;
  owner.replaceChildren(owner.options[0], ...sorted.map((name) => new Option(name, name)));
  owner.value = chosen;
}

/** @param {LiveRow} row */
async function cancel(row) {
  if (row.isCancelling) return;
  const { upload } = row;
  const path = nameOf(upload);
  const of = upload.name ? "live.ask-of" : "live.ask-text";
  part(dialog, "#cancel-text").textContent = texts.get(of, { path, owner: upload.name });
  dialog.returnValue = "";
  dialog.showModal();
  part(dialog, ".leave").focus();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "cancel") return;
  row.isCancelling = true;
  const done = await end(upload.id);
  row.isCancelling = done;
  announce(texts.get(done ? "live.cancelled" : "live.not-cancelled", { path }));
  look();
}

/**
 * Whether an upload has ended; also one that had before.
 * @param {string} id
 */
async function end(id) {
  try {
    const answer = await fetch(`${UPLOADS}/${encodeURIComponent(id)}`, {
      method: "DELETE",
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    return answer.ok || answer.status === 404;
  } catch {
    return false;
  }
}

/** @param {string} words */
function announce(words) {
  const region = part(document, "#announcer");
  region.textContent = words;
  region.classList.add("seen");
  setTimeout(() => region.classList.remove("seen"), 8000);
}

/** @param {string} words */
function say(words) {
  const trouble = part(document, "#trouble");
  if (trouble.textContent !== words) trouble.textContent = words;
}

part(document, "#pause").addEventListener("click", () => {
  isPaused = !isPaused;
  part(document, "#pause").textContent = texts.get(isPaused ? "live.go-on" : "live.pause");
  look();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !isPaused) look();
});
for (const control of [search, owner, stage]) control.addEventListener("input", show);

document.title = `${texts.get("live.title")} – ${document.title}`;
part(document, "#page").hidden = false;
look();
