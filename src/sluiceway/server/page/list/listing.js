// The requests of the list of stored files: pages of it, deletions, new names, zips. Draws nothing.

import { ownLink } from "../uploads/row.js";

/**
 * @typedef {object} View what is looked at
 * @property {string} folder "" or a path that ends in "/"
 * @property {string} search words, or ""
 * @property {string} sort name, size or modified; with "-" the other way round
 *
 * @typedef {import("../uploads/response.js").Entry & {path: string, viewable?: boolean}} StoredFile
 *
 * @typedef {object} Page
 * @property {string[]} folders paths
 * @property {StoredFile[]} files
 * @property {string | null} next
 * @property {boolean} readable
 * @property {boolean} renames
 * @property {boolean} sorted false where there were too many files to sort
 * @property {number} omitted
 */

// The server lists at most so many at once.
const MOST_LIMIT = 1000;
const TOO_MANY = 413;
// The first part of a key that the server made: it means nothing to people.
const MADE_ID = /^[0-9a-z]{25}\/(?=.)/;

/** An answer that is no success. */
export class Refusal extends Error {
  /** @param {Response | null} answer null where none came */
  constructor(answer) {
    super("refused");
    this.answer = answer;
  }
}

/**
 * One page of the list. What is too long to be sorted comes by key instead, folders within names.
 * @param {string} endpoint
 * @param {View} view
 * @param {string} after the `next` of the page before, or ""
 * @param {number} limit
 * @param {boolean} sorted
 * @returns {Promise<Page>}
 */
export async function askPage(endpoint, view, after, limit, sorted) {
  const url = new URL(endpoint);
  const { searchParams } = url;
  if (sorted) {
    searchParams.set("folder", view.folder);
    searchParams.set("sort", view.sort);
    if (view.search) searchParams.set("search", view.search);
  } else searchParams.set("prefix", view.folder);
  searchParams.set("limit", String(Math.min(limit, MOST_LIMIT)));
  if (after) searchParams.set("after", after);
  const answer = await ask(url, { headers: { Accept: "application/json" }, cache: "no-store" });
  if (answer?.status === TOO_MANY && sorted) return askPage(endpoint, view, "", limit, false);
  if (!answer?.ok) throw new Refusal(answer);
  const content = await answer.json();
  return {
    folders: content.folders ?? [],
    files: content.files.map(withPath),
    next: content.next,
    readable: content.readable !== false,
    renames: content.renames === true,
    sorted,
    omitted: content.omitted?.length ?? 0,
  };
}

/**
 * @param {import("../uploads/response.js").Entry & {path?: string}} entry
 * @returns {StoredFile}
 */
export function withPath(entry) {
  return { ...entry, path: entry.path ?? entry.key.replace(MADE_ID, "") };
}

/**
 * Delete a file. That it is gone already is what was wanted.
 * @param {StoredFile} file
 */
export async function deleteFile(file) {
  const answer = await ask(ownLink(file.url), { method: "DELETE" });
  if (!answer || (!answer.ok && answer.status !== 404)) throw new Refusal(answer);
}

/**
 * Give a file another path. The id in front of it stays, and the version must be the one shown.
 * @param {string} endpoint
 * @param {StoredFile} file
 * @param {string} path
 * @returns {Promise<StoredFile>}
 */
export async function renameFile(endpoint, file, path) {
  const made = file.key.slice(0, file.key.length - file.path.length);
  const { pathname } = new URL(endpoint);
  const destination = [made + path].map((key) => key.split("/").map(encodeURIComponent).join("/"));
  const headers = {
    "Destination": `${pathname}/${destination}`,
    "If-Match": `"${file.etag}"`,
    "Overwrite": "F",
  };
  const answer = await ask(ownLink(file.url), { method: "MOVE", headers });
  if (!answer?.ok) throw new Refusal(answer);
  return withPath((await answer.json()).files[0]);
}

/**
 * The address of a zip of a folder, or of what was searched in it.
 * @param {string} endpoint
 * @param {View} view
 */
export function zipAddress(endpoint, { folder, search }) {
  const url = new URL(endpoint);
  url.searchParams.set("as", "zip");
  url.searchParams.set("folder", folder);
  if (search) url.searchParams.set("search", search);
  return url.href;
}

/**
 * Let the browser download a zip of these files. A form, because an address has no room for many.
 * @param {string} endpoint
 * @param {StoredFile[]} files
 * @param {boolean} inNewTab where leaving this page would end uploads
 */
export function downloadZip(endpoint, files, inNewTab) {
  const form = document.createElement("form");
  form.method = "post";
  form.action = `${endpoint}?as=zip`;
  if (inNewTab) form.target = "_blank";
  for (const { key } of files) {
    const field = document.createElement("input");
    [field.type, field.name, field.value] = ["hidden", "key", key];
    form.append(field);
  }
  document.body.append(form);
  form.submit();
  form.remove();
}

/**
 * @param {URL | string} url
 * @param {RequestInit} options
 */
function ask(url, options) {
  return fetch(url, options).catch(() => null);
}
