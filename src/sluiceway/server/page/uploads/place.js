// Where uploads report their progress. Here the server's own: beside the endpoint that takes them.
// An app of one's own serves another text in place of this one (assets.py).

/**
 * URL below which uploads report their progress; null: beside the endpoint.
 * @type {string | null}
 */
export const progress = null;
