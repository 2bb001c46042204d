// Files from drops, pastes and file choosers, folders included. Knows nothing of uploads.

/**
 * @typedef {object} Found
 * @property {File} file
 * @property {string} path where it lay, starting with the dropped folder's name
 */

// While something is dragged over a page, browsers say so every 50 to 350 ms. After a longer
// silence it is gone, even if no event reported it: a drag can end in another window, or with
// Escape.
const SILENT_MS = 1500;

/**
 * Files and folders of a drop. Call it inside the event: the browser empties the transfer right
 * after.
 * @param {DataTransfer} transfer
 * @returns {Promise<{found: Found[], unreadable: string[]}>}
 */
export async function ofDrop(transfer) {
  const dropped = [...transfer.items].filter((item) => item.kind === "file");
  const entries = dropped.map((item) => item.webkitGetAsEntry?.() ?? null);
  const files = [...transfer.files];
  /** @type {Found[]} */
  const found = [];
  /** @type {string[]} */
  const unreadable = [];
  // Files made by scripts have no entry; then the plain list is all there is.
  if (entries.some((entry) => entry === null)) {
    return { found: files.map((file) => ({ file, path: file.name })), unreadable };
  }
  for (const entry of entries) if (entry) await walk(entry, found, unreadable);
  return { found, unreadable };
}

/**
 * @param {FileSystemEntry} entry
 * @param {Found[]} found
 * @param {string[]} unreadable
 */
async function walk(entry, found, unreadable) {
  const path = entry.fullPath.replace(/^\//, "");
  try {
    if (entry.isFile) {
      const fileEntry = /** @type {FileSystemFileEntry} */ (entry);
      const file = await new Promise((resolve, reject) => fileEntry.file(resolve, reject));
      found.push({ file, path });
      return;
    }
    const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
    for (;;) {
      // A reader gives at most 100 names a time in Chromium; only an empty answer is the end.
      /** @type {FileSystemEntry[]} */
      const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (batch.length === 0) return;
      for (const child of batch) await walk(child, found, unreadable);
    }
  } catch {
    unreadable.push(path);
  }
}

/**
 * Files of a file or folder chooser.
 * @param {FileList | null} list
 * @returns {Found[]}
 */
export function ofChooser(list) {
  return [...(list ?? [])].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

/**
 * Files of a paste. Browsers call every pasted picture "image.png": those get the moment as their
 * name.
 * @param {DataTransfer | null} transfer
 * @param {(time: string) => string} named a name without its ending
 * @returns {Found[]}
 */
export function ofPaste(transfer, named) {
  return [...(transfer?.files ?? [])].map((file) => {
    if (file.name !== "image.png") return { file, path: file.name };
    const path = `${named(now())}.png`;
    return { file: new File([file], path, { type: file.type }), path };
  });
}

/**
 * Pasted text as a file.
 * @param {string} text
 * @param {(time: string) => string} named a name without its ending
 * @returns {Found}
 */
export function ofText(text, named) {
  const file = new File([text], `${named(now())}.txt`, { type: "text/plain;charset=utf-8" });
  return { file, path: file.name };
}

/** The moment in a form every file system takes. */
function now() {
  const date = new Date(Date.now() - new Date().getTimezoneOffset() * 60_000);
  return date.toISOString().slice(0, 19).replace("T", " ").replaceAll(":", "-");
}

/**
 * Make an element take drops of files. `hover` gets what is dragged
 * when files come over the element, and null when they leave.
 * @param {HTMLElement} target
 * @param {(transfer: DataTransfer) => void} drop
 * @param {(dragged: DataTransfer | null) => void} hover
 */
export function acceptDrops(target, drop, hover) {
  /** @type {number | undefined} */
  let timer;
  /** @param {DragEvent} event */
  const over = (event) => {
    const transfer = event.dataTransfer;
    // A target further inside that took the event has marked it. Links and selected text are no
    // files.
    if (event.defaultPrevented || !transfer?.types.includes("Files")) return;
    event.preventDefault();
    transfer.dropEffect = "copy";
    hover(transfer);
    clearTimeout(timer);
    timer = setTimeout(() => hover(null), SILENT_MS);
  };
  // Both, because browsers that do not say where a leaving pointer goes clear the mark too often;
  // the next move sets it.
  target.addEventListener("dragenter", over);
  target.addEventListener("dragover", over);
  target.addEventListener("dragleave", (event) => {
    if (!(event.relatedTarget instanceof Node && target.contains(event.relatedTarget))) hover(null);
  });
  target.addEventListener("drop", (event) => {
    clearTimeout(timer);
    hover(null);
    if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    drop(event.dataTransfer);
  });
}
