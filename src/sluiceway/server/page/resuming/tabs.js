// Which tab goes on with which upload: the tabs of a browser ask each other.
// Not by Web Locks: browsers have them on secure pages only, and this server runs in many a home.

// Tabs in the background answer within a few milliseconds; a frozen one sends nothing either.
const ANSWER_MS = 150;

const me = crypto.getRandomValues(new Uint32Array(2)).join("-");
const channel = typeof BroadcastChannel === "function"
  ? new BroadcastChannel("sluiceway-uploads")
  : null;
/** Uploads of this tab, and since when. @type {Map<string, number>} */
const held = new Map();
/** @type {Set<string>} */
const claiming = new Set();
/** What other tabs hold, as they have answered. @type {Set<string>} */
const elsewhere = new Set();

channel?.addEventListener("message", ({ data }) => {
  if (typeof data?.holds === "string") elsewhere.add(data.holds);
  if (typeof data?.asks !== "string") return;
  const { asks, by, since } = data;
  // One that was frozen, and asks for what another one took up meanwhile, has lost it. Of two that
  // ask at once, one gives way.
  const mine = since ? (held.get(asks) ?? 0) > since : held.has(asks);
  if (mine || (claiming.has(asks) && me < by)) channel.postMessage({ holds: asks });
});

/**
 * Take an upload for this tab; false if a tab has it already, also this one.
 * @param {string} url
 */
export async function claim(url) {
  if (held.has(url) || claiming.has(url)) return false;
  claiming.add(url);
  const others = await heldElsewhere([url]);
  claiming.delete(url);
  if (others.has(url)) return false;
  hold(url);
  return true;
}

/**
 * An upload that this tab has made.
 * @param {string} url
 */
export function hold(url) {
  held.set(url, Date.now());
}

/** @param {string} url */
export function release(url) {
  held.delete(url);
}

/** @param {string} url */
export function isHeldHere(url) {
  return held.has(url);
}

/**
 * Whether no other tab has taken it up while this one was asleep.
 * @param {string} url
 */
export async function isStillHeld(url) {
  const since = held.get(url);
  return since !== undefined && !(await heldElsewhere([url], since)).has(url);
}

/**
 * Those of the uploads that another tab has.
 * @param {string[]} urls
 * @param {number} [since]
 * @returns {Promise<Set<string>>}
 */
export async function heldElsewhere(urls, since) {
  if (!channel || urls.length === 0) return new Set();
  for (const url of urls) {
    elsewhere.delete(url);
    channel.postMessage({ asks: url, by: me, since });
  }
  await new Promise((resolve) => setTimeout(resolve, ANSWER_MS));
  return new Set(urls.filter((url) => elsewhere.has(url)));
}
