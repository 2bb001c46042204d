// Whether a file can still be read: a failed request does not show which end caused it.

/**
 * @param {File} file
 * @param {number} size that it had when it was chosen, in bytes
 */
export async function isReadable(file, size) {
  const first = await file.slice(0, 1).arrayBuffer().catch(() => null);
  if (first === null || file.size !== size) return false;
  return first.byteLength === Math.min(1, size);
}
