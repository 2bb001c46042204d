// Where the time of an upload went, from the Server-Timing header. Draws nothing.

/**
 * @typedef {object} Part
 * @property {string} name the server's word for it
 * @property {"client" | "sluiceway" | "destination"} who
 * @property {number} seconds
 * @property {number} share 0 to 1
 *
 * @typedef {object} Timing
 * @property {Part[]} parts in the order the bytes take
 * @property {number} seconds all parts together
 * @property {string} verdict who took the most: "91 % backend"
 */

// The texts of the parts are in the catalogue: "timing.NAME".
const PARTS = /** @type {[string, Part["who"]][]} */ ([
  ["wait-for-client", "client"],
  ["decode", "sluiceway"],
  ["queue", "sluiceway"],
  ["destination", "destination"],
  ["wait-for-answer", "destination"],
]);

/**
 * The parts, or null if the header has none of them.
 * @param {string | null} header Server-Timing
 * @param {string} destination what people call it
 * @returns {Timing | null}
 */
export function readTiming(header, destination) {
  const byName = durations(header ?? "");
  const seconds = PARTS.reduce((all, [name]) => all + (byName.get(name) ?? 0), 0);
  if (!PARTS.some(([name]) => byName.has(name))) return null;
  const parts = PARTS.map(([name, who]) => {
    const part = byName.get(name) ?? 0;
    return { name, who, seconds: part, share: seconds > 0 ? part / seconds : 0 };
  });
  return { parts, seconds, verdict: verdictOf(parts, destination) };
}

/**
 * Seconds by name. A proxy may have added metrics of its own; the first one of a name counts.
 * @param {string} header
 */
function durations(header) {
  /** @type {Map<string, number>} */
  const byName = new Map();
  for (const metric of header.split(",")) {
    const [name, ...parameters] = metric.split(";").map((one) => one.trim());
    const duration = parameters.find((one) => one.startsWith("dur="))?.slice(4) ?? "";
    const isNumber = /^\d{1,12}(?:\.\d{1,12})?$/.test(duration);
    if (isNumber && !byName.has(name)) byName.set(name, Number(duration) / 1000);
  }
  return byName;
}

/**
 * @param {Part[]} parts
 * @param {string} destination
 */
function verdictOf(parts, destination) {
  const shares = { client: 0, sluiceway: 0, destination: 0 };
  for (const { who, share } of parts) shares[who] += share;
  const names = /** @type {Part["who"][]} */ (Object.keys(shares));
  const most = names.reduce((one, other) => (shares[other] > shares[one] ? other : one));
  return `${Math.round(100 * shares[most])} % ${most === "destination" ? destination : most}`;
}
