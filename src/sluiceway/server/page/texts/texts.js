// The texts and numbers of one language. Plurals and numbers follow Intl; a name that is put into
// a text keeps its own direction. The entries are in languages/; only the needed file is loaded.

const LANGUAGES = ["en", "de", "es", "fr", "zh", "ja", "ar"];
const FALLBACK = "en";
const RIGHT_TO_LEFT = ["ar"];
// Bytes have an entry of their own: Intl writes "812 byte".
const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte", "petabyte"];
const RTL_LETTERS = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
const [ISOLATE, END_OF_ISOLATE] = ["\u2068", "\u2069"];

/** @typedef {string | Record<string, string>} Entry a text, or its plural forms */

/**
 * The texts in the first of these languages that there is, else in English.
 * @param {readonly (string | null | undefined)[]} wanted BCP 47 tags, best first
 * @returns {Promise<Texts>}
 */
export async function loadTexts(wanted) {
  const locale = wanted.find((tag) => tag && isTag(tag) && LANGUAGES.includes(baseOf(tag)));
  try {
    return await load(locale ?? FALLBACK);
  } catch {
    // A copy of the page's files may lack a language.
    return load(FALLBACK);
  }
}

/** @param {string} locale */
async function load(locale) {
  const { default: entries } = await import(`./languages/${baseOf(locale)}.js`);
  return new Texts(locale, entries);
}

/** @param {string} tag */
function baseOf(tag) {
  return tag.split("-")[0].toLowerCase();
}

/** @param {string} tag */
function isTag(tag) {
  try {
    return Intl.getCanonicalLocales(tag).length === 1;
  } catch {
    return false;
  }
}

export class Texts {
  #plurals;
  #number;

  /**
   * @param {string} locale BCP 47: numbers and times follow its region
   * @param {Record<string, Entry>} entries
   */
  constructor(locale, entries) {
    this.locale = locale;
    this.language = baseOf(locale);
    this.direction = RIGHT_TO_LEFT.includes(this.language) ? "rtl" : "ltr";
    this.entries = entries;
    this.#plurals = new Intl.PluralRules(locale);
    this.#number = new Intl.NumberFormat(locale);
  }

  /**
   * The same with more entries.
   * @param {Record<string, Entry>} entries
   */
  with(entries) {
    return new Texts(this.locale, { ...this.entries, ...entries });
  }

  /** @param {string} key */
  has(key) {
    return Object.hasOwn(this.entries, key);
  }

  /**
   * A text with its placeholders filled. `count` selects the plural form.
   * @param {string} key
   * @param {Record<string, string | number>} [values]
   * @returns {string}
   */
  get(key, values = {}) {
    if (!this.has(key)) throw new Error(`the catalogue lacks ${key}`);
    const entry = this.entries[key];
    const text = typeof entry === "string" ? entry : this.#form(entry, Number(values.count));
    return text.replace(/\{([a-z]+)\}/g, (_, name) => this.#shown(values[name] ?? ""));
  }

  /**
   * @param {Record<string, string>} forms
   * @param {number} count
   */
  #form(forms, count) {
    return forms[this.#plurals.select(count)] ?? forms.other;
  }

  /** @param {string | number} value */
  #shown(value) {
    if (typeof value === "number") return this.#number.format(value);
    const mixed = this.direction === "rtl" || RTL_LETTERS.test(value);
    return mixed && value ? ISOLATE + value + END_OF_ISOLATE : value;
  }

  /**
   * A size in steps of 1000 as disks and networks are sold: "812 kB", "1.2 GB".
   * @param {number} count bytes
   */
  bytes(count) {
    let value = Math.max(0, count);
    let unit = 0;
    // 999.5 and not 1000: what would be rounded to "1000 kB" is "1 MB".
    while (value >= 999.5 && unit < UNITS.length - 1) {
      value /= 1000;
      unit += 1;
    }
    if (unit === 0) return this.get("bytes", { value: Math.round(value) });
    const digits = unit > 1 && value < 99.95 ? 1 : 0;
    return new Intl.NumberFormat(this.locale, {
      style: "unit",
      unit: UNITS[unit],
      unitDisplay: "short",
      maximumFractionDigits: digits,
    }).format(value);
  }

  /** @param {number} count bytes a second */
  rate(count) {
    return this.get("per-second", { amount: this.bytes(count) });
  }

  /** @param {number} value 0 to 100 */
  percent(value) {
    return this.get("percent", { value });
  }

  /**
   * A time that has passed: "0.4 s", "45 s", "2 min 5 s", "1 h 12 min".
   * @param {number} seconds
   */
  duration(seconds) {
    if (seconds < 9.95) {
      const tenths = { minimumFractionDigits: 1, maximumFractionDigits: 1 };
      const value = Math.max(0.1, seconds).toLocaleString(this.locale, tenths);
      return this.get("seconds", { value });
    }
    const whole = Math.round(seconds);
    if (whole < 60) return this.get("seconds", { value: whole });
    const [minutes, hours] = [Math.floor(whole / 60), Math.floor(whole / 3600)];
    if (hours === 0) return this.get("minutes-seconds", { minutes, seconds: whole % 60 });
    return this.get("hours-minutes", { hours, minutes: minutes % 60 });
  }

  /**
   * A part of a time that has passed, down to thousandths: "≤ 1 ms", "38 ms", "1.2 s".
   * @param {number} seconds
   */
  span(seconds) {
    if (seconds === 0) return this.#number.format(0);
    if (seconds < 0.0015) return this.get("at-most-one-millisecond");
    if (seconds >= 0.9995) return this.duration(seconds);
    return this.get("milliseconds", { value: Math.round(1000 * seconds) });
  }

  /**
   * A time still to come, only as exact as a forecast can be.
   * @param {number} seconds
   */
  timeLeft(seconds) {
    if (seconds < 5) return this.get("left.moments");
    if (seconds < 55) return this.get("left.seconds", { value: Math.ceil(seconds / 5) * 5 });
    if (seconds < 3570) return this.get("left.minutes", { value: Math.ceil(seconds / 60) });
    const all = Math.ceil(seconds / 600) * 10;
    if (all >= 24 * 60) return this.get("left.days");
    return this.get("left.hours", { hours: Math.floor(all / 60), minutes: all % 60 });
  }

  /**
   * A moment in the reader's own time zone and habits.
   * @param {string} text RFC 3339
   */
  moment(text) {
    const date = new Date(text);
    if (Number.isNaN(date.getTime())) return text;
    return date.toLocaleString(this.locale, { dateStyle: "medium", timeStyle: "short" });
  }
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
