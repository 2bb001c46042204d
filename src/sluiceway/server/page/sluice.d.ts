// Types of <sluice-drop>, for a page in TypeScript. The server has this file at /page/sluice.d.ts;
// it stands beside sluice.js, so that `import "./sluice.js"` finds it. docs/page.md explains all.

/** A stored file, as the server describes it in its answer. */
export interface SluiceEntry {
  key: string;
  filename: string;
  /** Bytes. */
  size: number;
  /** Hexadecimal digits, as all digests. Those that the server counted are there. */
  "sha-256"?: string | null;
  "sha-512"?: string;
  blake3?: string;
  crc64nvme?: string;
  url: string | null;
  /** RFC 3339. */
  modified?: string;
  notes?: string[];
  destinations?: SluiceDestination[];
}

/** One of several destinations, and what became of the file there. */
export interface SluiceDestination {
  to: string;
  required?: boolean;
  status?: number;
  location?: string;
  note?: string;
}

/** `sluice-start`: an upload of these files begins. */
export interface SluiceStartDetail {
  files: File[];
}

/** `sluice-progress`: the server's counters over all files of the drop, in bytes. */
export interface SluiceProgressDetail {
  /** Reached the server. */
  received: number;
  /** Handed to the destination. */
  forwarded: number;
  /** Acknowledged by the destination. */
  kept: number;
  /** The sizes of all files together. */
  length: number;
}

/** `sluice-error`: one file failed, or a drop was not taken (then without `file`). */
export interface SluiceErrorDetail {
  /** Stable: "too-large", "connection-lost", "one-file" … */
  code: string;
  /** The answer's status, if there was an answer. */
  status?: number;
  /** What happened, in the reader's language. */
  title: string;
  /** More about it, or "". */
  detail: string;
  /** What the reader can do now, or "". */
  todo: string;
  file?: File;
}

/** `sluice-done`: all files of a drop have ended; those that are stored, in one order. */
export interface SluiceDoneDetail {
  /** What the answers say of the stored files, if they say it. */
  entries: SluiceEntry[];
  /** The whole answers: parsed JSON, or text. */
  answers: unknown[];
  /** Where each file can be opened, or null. */
  links: (string | null)[];
  /** Who took the time, such as "91 % destination", or null. */
  verdicts: (string | null)[];
}

export interface SluiceDropEventMap {
  "sluice-start": CustomEvent<SluiceStartDetail>;
  "sluice-progress": CustomEvent<SluiceProgressDetail>;
  "sluice-error": CustomEvent<SluiceErrorDetail>;
  "sluice-done": CustomEvent<SluiceDoneDetail>;
}

/** The attributes in HTML. `data-*` attributes are sent as form fields, before the file. */
export interface SluiceDropAttributes {
  accept?: string;
  disabled?: boolean | "";
  endpoint?: string;
  "file-field"?: string;
  label?: string;
  lang?: string;
  link?: string;
  /** For one large file, 1 to 4; without it, more than one where they are measured to be faster. */
  connections?: number | string;
  "max-parallel"?: number | string;
  multiple?: boolean | "";
  name?: string;
  required?: boolean | "";
  token?: string;
  "token-origins"?: string;
  uploads?: string;
  [data: `data-${string}`]: string | number | undefined;
}

/** The names for `::part()`. */
export type SluiceDropPart =
  | "panel"
  | "invitation"
  | "icon"
  | "hint"
  | "choose"
  | "progress"
  | "file"
  | "name"
  | "bar"
  | "arrived"
  | "kept"
  | "status"
  | "links"
  | "item"
  | "link"
  | "buttons"
  | "pause"
  | "go-on"
  | "retry"
  | "cancel"
  | "over";

/** The names for `:state()`. */
export type SluiceDropState = "over" | "busy" | "failed" | "done";

/** The custom properties of its style. */
export type SluiceDropVariable =
  | "--sluice-accent"
  | "--sluice-outline"
  | "--sluice-kept"
  | "--sluice-arrived"
  | "--sluice-track"
  | "--sluice-good"
  | "--sluice-bad"
  | "--sluice-radius";

type Listener<E extends Event> = (this: SluiceDrop, event: E) => unknown;

export class SluiceDrop extends HTMLElement {
  static readonly formAssociated: true;

  /** Open the file chooser. Browsers allow it only after a key or a click. */
  choose(): void;
  /** Send files, as if they had been dropped. */
  send(files: Iterable<File>): void;
  /** Stop everything under way. */
  cancel(): void;

  addEventListener<K extends keyof SluiceDropEventMap>(
    type: K,
    listener: Listener<SluiceDropEventMap[K]>,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener<K extends keyof HTMLElementEventMap>(
    type: K,
    listener: Listener<HTMLElementEventMap[K] & Event>,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;

  removeEventListener<K extends keyof SluiceDropEventMap>(
    type: K,
    listener: Listener<SluiceDropEventMap[K]>,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener<K extends keyof HTMLElementEventMap>(
    type: K,
    listener: Listener<HTMLElementEventMap[K] & Event>,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | EventListenerOptions,
  ): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "sluice-drop": SluiceDrop;
  }
  // The events bubble, so a page may listen at the document.
  interface DocumentEventMap extends SluiceDropEventMap {}
}
