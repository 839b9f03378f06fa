// @ts-check
// Comparison of one case (FORMAT.md, section 7, step 6).

import { isNumber } from "./json.mjs";
import { GoldenError, alternatives, floatOf, hex, inShort, isEither } from "./values.mjs";

/**
 * Compare what a build showed with what is expected: how many steps and fields were compared, how often a field was
 * lost, and the first differing step, if any. Order and kinds of the fields are those of the index.
 */
export function compare(expected, seen, offered, index) {
  const known = new Set([...offered, ...seen.flatMap((step) => Object.keys(step.diagnostics ?? {}))]);
  const found = { steps: 0, fields: 0, lost: {}, first: null };
  let carried = {};
  for (const [place, entry] of expected.entries()) {
    const shownHere = seen[place] ?? { kind: "error", detail: "the session ended before this step" };
    const answers = alternatives(entry).sort((one, other) => Number(isExpectedFailure(one)) - Number(isExpectedFailure(other)));
    const compared = answers.map((answer) => compareStep(answer, shownHere, carried, known, index));
    const step = compared.find(({ differences }) => differences.length === 0) ?? compared[0];
    found.steps += 1;
    found.fields += step.fields;
    for (const name of step.lost) found.lost[name] = (found.lost[name] ?? 0) + 1;
    if (step.differences.length) {
      found.first = { step: place, differences: step.differences };
      return found;
    }
    carried = step.carried;
  }
  return found;
}

function compareStep(expected, found, carried, known, { statuses, fields }) {
  const step = { fields: 1, lost: [], differences: [], carried }; // one field is the kind with its status or value
  const differ = (field, mine, theirs) => step.differences.push({ field, expected: mine, found: theirs });
  const kind = ["status", "value", "none", "trap"].find((name) => name in expected);
  if (kind === undefined) throw new GoldenError(`no answer: ${inShort(expected)}`);
  const codes = kind === "status" ? alternatives(expected.status).map((name) => statuses[name]) : [];
  const agrees =
    found.kind === kind &&
    (kind === "status"
      ? codes.includes(found.value)
      : kind !== "value" || alternatives(expected.value).some((value) => sameValue(value, found.value)));
  if (!agrees) differ(kind, kind === "trap" || kind === "none" ? kind : expected[kind], outcome(found, statuses));
  if (kind !== "status" || found.kind !== "status") return step;
  if (expected.diagnostics) {
    step.carried = { ...carried, ...expected.diagnostics };
    const strange = Object.keys(expected.diagnostics).find(
      (key) => !key.startsWith("_") && !fields.some(({ name }) => name === key),
    );
    if (strange !== undefined) throw new GoldenError(`no diagnostics field: ${inShort(strange)}`);
    for (const { name, kind: form } of fields.filter((field) => Object.hasOwn(step.carried, field.name))) {
      if (!known.has(name)) {
        step.lost.push(name);
        continue;
      }
      step.fields += 1;
      const theirs = found.diagnostics[name];
      if (theirs === undefined) differ(name, step.carried[name], "nothing (the build shows this field elsewhere)");
      else if (!same(step.carried[name], theirs, form)) differ(name, step.carried[name], plain(theirs));
    }
  }
  if (expected.result !== undefined) {
    step.fields += 1;
    const isRight = (text) => text.length === 2 * found.result.length && text === hex(found.result);
    if (!alternatives(expected.result).some(isRight)) differ("result", expected.result, hex(found.result));
  }
  return step;
}

const sameValue = (expected, found) => (expected === "non-zero" ? found !== 0 : String(expected) === String(found));

/** Kind of field -> kind of what is in it, for those that hold others; `pair` is an id and a float. */
const INSIDE = { pairs: () => "pair", pair: (key) => (key === 1 ? "float" : "count"), summary: () => "float" };

/** Compare a diagnostics value of a kind by meaning: floats as float32, all else exactly. */
function same(expected, found, kind) {
  const inside = INSIDE[kind] ?? (() => kind);
  if (isEither(expected)) return expected.either.some((value) => same(value, found, kind));
  if (Array.isArray(expected)) {
    const isList = Array.isArray(found) && found.length === expected.length;
    return isList && expected.every((value, place) => same(value, found[place], inside(place)));
  }
  if (expected !== null && typeof expected === "object") {
    const keys = Object.keys(expected).filter((key) => !key.startsWith("_"));
    const isSet = found?.members instanceof Map && found.members.size === keys.length;
    return (
      isSet && keys.every((key) => found.members.has(key) && same(expected[key], found.members.get(key), inside(key)))
    );
  }
  if (expected !== null && kind === "float") {
    if (!isNumber(found)) return false;
    const [mine, theirs] = [Math.fround(floatOf(expected)), Math.fround(Number(found.number))];
    return mine === theirs || (Number.isNaN(mine) && Number.isNaN(theirs));
  }
  if (typeof expected !== "number") return expected === found;
  return isNumber(found) && (found.number === "-0" ? "0" : found.number) === String(expected);
}

/** Return a value of the build as JSON would hold it; a number that a double does not hold stays text. */
function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  if (isNumber(value)) {
    const number = Number(value.number);
    return Number.isFinite(number) && (!Number.isInteger(number) || Number.isSafeInteger(number))
      ? number
      : value.number;
  }
  if (value.members) return Object.fromEntries(Array.from(value.members, ([key, item]) => [key, plain(item)]));
  return `a value of ${value.characters} characters`;
}

export function outcome({ kind, value, detail }, statuses) {
  if (kind === "status")
    return Object.keys(statuses).find((name) => statuses[name] === value) ?? `unknown status ${value}`;
  if (kind === "value") return value;
  return kind === "none" ? kind : `${kind}: ${detail}`;
}

export const isExpectedFailure = (entry) => "trap" in entry || ("status" in entry && entry.status !== "Ok");
