// The details below a row: counters while it runs, then the times and the rest of the response.

import { httpLink } from "./response.js";
import { texts } from "../texts/page-texts.js";

/** @typedef {import("./upload.js").Upload} Upload */
/** @typedef {import("./response.js").Answer} Answer */
/** @typedef {import("./timing.js").Timing} Timing */

// A server may send any number of notes and destinations; a row shows as many as people read.
const LISTED = 20;

export class Details {
  /** @type {Answer | null} */
  #shown = null;

  /**
   * @param {HTMLElement} element a details element
   * @param {Upload} upload
   */
  constructor(element, upload) {
    this.element = element;
    this.upload = upload;
    this.#drawSummary(null);
  }

  /** Update it. Details that are unfolded stay unfolded. */
  draw() {
    const { upload } = this;
    const answer = upload.ended ? upload.answer : null;
    if (answer !== this.#shown) this.#drawAnswer(answer);
    this.#find(".so-far").hidden = !upload.active;
    if (upload.active) this.#drawSoFar();
    // A row without any details has nothing to unfold.
    const folded = this.#find(".folded");
    const isHidden = (/** @type {Element} */ one) => one instanceof HTMLElement && one.hidden;
    this.element.hidden = upload.state === "waiting" || [...folded.children].every(isHidden);
  }

  #drawSoFar() {
    const { upload } = this;
    const rows = [["details.sent", upload.sent]];
    if (upload.reported) {
      rows.push(["details.arrived", upload.arrived], ["details.forwarded", upload.forwarded]);
      rows.push(["details.kept", upload.kept]);
    }
    const list = this.#find(".counters");
    while (list.children.length < rows.length) list.append(make("div", "", make("dt"), make("dd")));
    for (const [at, [name, count]] of rows.entries()) {
      const [term, value] = list.children[at].children;
      term.textContent = texts.get(String(name));
      value.textContent = texts.bytes(Number(count));
    }
    for (const [at, row] of [...list.children].entries()) {
      /** @type {HTMLElement} */ (row).hidden = at >= rows.length;
    }
    const by = this.#find(".kept-by");
    by.hidden = !upload.reported || upload.kept === 0;
    const key = upload.networkOnly ? "details.kept-by-network" : "details.kept-by-destination";
    by.textContent = texts.get(key);
  }

  /** @param {Answer | null} answer */
  #drawAnswer(answer) {
    const { upload } = this;
    this.#shown = answer;
    const timing = answer?.timing ?? null;
    this.#drawSummary(timing);
    this.#find(".timing").hidden = !timing;
    if (timing) this.#drawTiming(timing);
    // The text of a refusal stands in the row already.
    const text = answer?.passedOn && upload.state === "done" ? answerWords(answer) : "";
    this.#find(".answer-text").textContent = text;
    this.#find(".answer-text").hidden = !text;
    this.#list(".places", placesOf(answer));
    this.#list(".notes", notesOf(answer));
  }

  /** @param {Timing | null} timing */
  #drawSummary(timing) {
    const words = timing ? texts.get("timing.verdict", { verdict: verdictWords(timing) }) : "";
    this.#find(".of").textContent = texts.get("details.of", { path: this.upload.path });
    this.#find(".verdict").textContent = words ? ` · ${words}` : "";
  }

  /** @param {Timing} timing */
  #drawTiming({ parts, seconds }) {
    const bar = this.#find(".shares");
    bar.replaceChildren(
      ...parts.filter(({ share }) => share > 0).map((part) => {
        const segment = make("span", `share ${colourOf(part)}`);
        segment.style.flexGrow = String(part.share);
        return segment;
      }),
    );
    const rows = parts.map((part) => {
      const swatch = make("span", `swatch ${colourOf(part)}`);
      const meaning = make("span", "meaning", texts.get(`timing.${part.name}`));
      const head = [swatch, make("code", "", part.name), " ", meaning];
      return line("", head, texts.span(part.seconds), percent(part.share));
    });
    const all = [texts.get("timing.all")];
    const whole = line("whole", all, texts.span(seconds), texts.percent(100));
    this.#find(".parts").replaceChildren(...rows, whole);
  }

  /**
   * @param {string} selector of a list
   * @param {(string | Node)[][]} items
   */
  #list(selector, items) {
    const list = this.#find(selector);
    list.hidden = items.length === 0;
    list.replaceChildren(...items.slice(0, LISTED).map((content) => make("li", "", ...content)));
  }

  /** @param {string} selector */
  #find(selector) {
    const found = this.element.querySelector(selector);
    if (!(found instanceof HTMLElement)) throw new Error(`the details lack ${selector}`);
    return found;
  }
}

/**
 * "91 % backend" in the reader's language; a destination's own name stays as it is.
 * @param {Timing} timing
 */
function verdictWords({ verdict }) {
  const [, percent, who] = /^(\d+) % (.+)$/.exec(verdict) ?? [];
  if (!who) return verdict;
  const key = `timing.who.${who}`;
  return `${texts.percent(Number(percent))} ${texts.has(key) ? texts.get(key) : who}`;
}

/** @param {Answer} answer */
function answerWords({ status, words }) {
  const key = words ? "details.answer-words" : "details.answer";
  return texts.get(key, { status: String(status), words });
}

/** @param {Answer | null} answer */
function destinationsOf(answer) {
  const listed = answer?.entry?.destinations;
  return Array.isArray(listed) ? listed.filter((one) => typeof one?.to === "string") : [];
}

/**
 * What became of the file at each of several destinations.
 * @param {Answer | null} answer
 */
function placesOf(answer) {
  return destinationsOf(answer).map(({ to, required, status, location, note }) => {
    const words = [texts.get(required === false ? "details.best-effort" : "details.required")];
    if (Number.isInteger(status)) {
      words.push(texts.get("details.answered", { status: String(status) }));
    }
    if (typeof note === "string" && note) words.push(note);
    const link = answer?.passedOn && !URL.canParse(location ?? "") ? "" : httpLink(location);
    const result = make("span", "", make("bdi", "", to), ` – ${words.join(" · ")}`);
    return link ? [result, linkTo(link, to)] : [result];
  });
}

/**
 * The notes of the server, without those that the destinations show already.
 * @param {Answer | null} answer
 */
function notesOf(answer) {
  const notes = answer?.entry?.notes;
  const shown = destinationsOf(answer).map(({ note }) => note);
  const given = (Array.isArray(notes) ? notes : []).filter((note) => typeof note === "string");
  return given.filter((note) => note && !shown.includes(note)).map((note) => [note]);
}

/**
 * @param {string} address
 * @param {string} place
 */
function linkTo(address, place) {
  const link = /** @type {HTMLAnchorElement} */ (make("a", "link", texts.get("upload.open")));
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener";
  link.setAttribute("aria-label", texts.get("upload.open-at", { host: place }));
  return link;
}

/**
 * A line of the table.
 * @param {string} name
 * @param {(string | Node)[]} head
 * @param {...string} values
 */
function line(name, head, ...values) {
  const first = make("th", "", ...head);
  first.setAttribute("scope", "row");
  return make("tr", name, first, ...values.map((value) => make("td", "", value)));
}

/** @param {import("./timing.js").Part} part */
function colourOf({ name, who }) {
  return name === "wait-for-answer" ? "part-answer" : `part-${who}`;
}

/** @param {number} share 0 to 1 */
function percent(share) {
  if (share > 0 && share < 0.005) return texts.get("less-than", { amount: texts.percent(1) });
  return texts.percent(Math.round(100 * share));
}

/**
 * @param {string} tag
 * @param {string} [name] of its class
 * @param {...(string | Node)} content
 */
function make(tag, name = "", ...content) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...content);
  return element;
}
