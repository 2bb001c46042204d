// Where and how files are sent, as a page or an element has it.

/**
 * @typedef {object} UploadTarget where and how files are sent
 * @property {string} endpoint URL that takes the form
 * @property {string} uploads URL below which uploads report their progress
 * @property {import("../texts/texts.js").Texts} texts for what went wrong
 * @property {string} [token]
 * @property {string} [fileField] name of the form field that holds the file
 * @property {[string, string][]} [fields] sent before the file
 * @property {number} [connections] for one large file; without it, as many as are faster
 * @property {boolean} [asks] a person decides on names that are taken
 */

/**
 * The headers that a target asks for.
 * @param {UploadTarget} target
 * @returns {Record<string, string>}
 */
export function authorizationOf({ token }) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/**
 * Where the server tells about an upload.
 * @param {UploadTarget} target
 * @param {string} id
 */
export function statusOf({ uploads }, id) {
  return `${uploads.replace(/\/$/, "")}/${id}`;
}
