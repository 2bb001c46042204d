// Numbers as text. Pure functions: nothing here touches the document or the network.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/**
 * A size as people write it, in steps of 1000 as disks and networks are sold: "812 kB", "1.2 GB".
 * @param {number} count bytes
 */
export function bytes(count) {
  let value = Math.max(0, count);
  let unit = 0;
  // 999.5 and not 1000: what would be rounded to "1000 kB" is "1 MB".
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit > 1 && value < 99.95 ? 1 : 0;
  return `${value.toFixed(digits).replace(/\.0$/, "")} ${UNITS[unit]}`;
}

/**
 * A time that has passed: "0.4 s", "45 s", "2 min 5 s", "1 h 12 min".
 * @param {number} seconds
 */
export function duration(seconds) {
  if (seconds < 9.95) return `${Math.max(0.1, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/**
 * A part of a time that has passed, down to thousandths: "≤ 1 ms", "38 ms", "1.2 s".
 * @param {number} seconds
 */
export function span(seconds) {
  if (seconds === 0) return "0";
  if (seconds < 0.0015) return "≤ 1 ms";
  return seconds < 0.9995 ? `${Math.round(1000 * seconds)} ms` : duration(seconds);
}

/**
 * A time still to come, only as exact as a forecast can be.
 * @param {number} seconds
 */
export function timeLeft(seconds) {
  if (seconds < 5) return "a few seconds left";
  if (seconds < 55) return `about ${Math.ceil(seconds / 5) * 5} s left`;
  if (seconds < 3570) return `about ${Math.ceil(seconds / 60)} min left`;
  const minutes = Math.ceil(seconds / 600) * 10;
  if (minutes < 24 * 60) return `about ${Math.floor(minutes / 60)} h ${minutes % 60} min left`;
  return "more than a day left";
}

/**
 * Whole percent of a transfer that has not ended: never 100, which means success.
 * @param {number} part
 * @param {number} whole
 */
export function percentUnderWay(part, whole) {
  if (whole <= 0) return 0;
  return Math.max(0, Math.min(99, Math.floor((100 * part) / whole)));
}

/**
 * "1 file", "3 files".
 * @param {number} count
 * @param {string} [noun]
 */
export function counted(count, noun = "file") {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/**
 * A moment in the reader's own time zone and habits.
 * @param {string} text RFC 3339
 */
export function moment(text) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return text;
  return date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
