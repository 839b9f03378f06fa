// @ts-check
// What all parts of the page share: elements, and how a verdict is written and marked.

import { FINE } from "./verdict.mjs";
import { MEANINGS } from "./words.mjs";

export { verdictLabel as label, verdictMeaning as meaning } from "./words.mjs";

export const VERDICTS = Object.keys(MEANINGS);

/** The word that stands for a case that no build has answered yet. */
export const NOT_RUN = "not run";

/** @type {(id: string) => any} */
export const element = (id) => document.getElementById(id);

/** Make an element with text and attributes; nothing from a build is ever taken for HTML. */
export function make(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** Make an element that holds others. */
export function group(tag, children, attributes = {}) {
  const made = make(tag, "", attributes);
  made.append(...children);
  return made;
}

export const isFine = (verdict) => FINE.includes(verdict);

/** Return a sign for a verdict, for eyes that do not tell its color. */
export const mark = (verdict) =>
  ({ MATCH: "\u2713", BOTH_FAILED: "\u2713", UNSUPPORTED: "\u2013", POISONED: "!", STALE: "!", [NOT_RUN]: "\u00b7" })[verdict] ??
  "\u2717";

/** Return a number with its noun. */
export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
