// @ts-check
// Where and how a build writes its diagnostics (FORMAT.md, section 5), to the contract's own fields and forms.

import { isNumber, readJson } from "./json.mjs";
import { GoldenError, byCodePoint, inShort, isObject } from "./values.mjs";

const KINDS = ["number", "text", "hex", "upper", "list", "joined", "objects", "ids", "parallel", "map", "flat"];
const WORDS = ["place", "as", "id", "logit", "separator", "none"];
const NOTHING = { top_tokens: [], tokenizer_output: "" };

/** Say whether an entry of `diagnostics` is as section 5 says: a name, or with `format` 2 a place and a form. */
export function isDialectEntry(entry, format) {
  if (typeof entry === "string") return true;
  if (format < 2 || !isObject(entry) || ("place" in entry) === ("parts" in entry)) return false;
  const areTexts = (value) => isObject(value) && Object.values(value).every((text) => typeof text === "string");
  const isRight = ([key, value]) =>
    WORDS.includes(key)
      ? typeof value === "string"
      : key === "missing"
        ? value === true
        : (key === "parts" || key === "labels") && areTexts(value);
  return Object.entries(entry).every(isRight) && (entry.as === undefined || KINDS.includes(entry.as));
}

/** Return in words where and how a build writes the fields that it does not write as the contract does. */
export function dialectTexts(table) {
  const changed = Object.entries(table).filter(([name, entry]) => entry !== name);
  return Object.fromEntries(changed.map(([name, entry]) => [name, dialectText(entry)]));
}

function dialectText(entry) {
  if (typeof entry === "string") return entry ? `at ${entry}` : "absent";
  const parts = Object.entries(entry.parts ?? {}).sort(([one], [other]) => byCodePoint(one, other));
  const words = entry.parts ? parts.map(([part, place]) => `${part} at ${place}`) : [`at ${entry.place}`];
  for (const key of ["as", "id", "logit"]) if (key in entry) words.push(`${key} ${entry[key]}`);
  if ("separator" in entry) words.push(`separated by ${JSON.stringify(entry.separator)}`);
  if ("none" in entry || "missing" in entry) words.push(`none is ${entry.none ?? "missing"}`);
  const labels = Object.entries(entry.labels ?? {}).sort(([one], [other]) => byCodePoint(one, other));
  return [...words, ...labels.map(([label, value]) => `${label} is ${value}`)].join(", ");
}

/** Return contract key -> value for the fields of a diagnostics document; none where it does not parse. */
export function readDiagnostics(bytes, entries) {
  const document = readJson(bytes);
  if (!(document?.members instanceof Map)) return {};
  const found = {};
  for (const [name, entry] of entries) {
    const value = typeof entry === "string" ? document.members.get(entry) : readField(name, document, entry);
    if (value !== undefined && entry !== "") found[name] = value;
  }
  return found;
}

function readField(name, document, entry) {
  if (entry.parts) return readParts(document, entry);
  const value = atPlace(document, entry.place);
  if (isNone(value, entry)) return NOTHING[name] ?? null;
  if (value === undefined) return undefined;
  for (const [label, theirs] of Object.entries(entry.labels ?? {})) {
    if (equal(value, jsonOf(theirs))) return name === "model_loaded" ? label === "true" : label;
  }
  if (value === null || !entry.as) return value;
  try {
    return READERS[entry.as](name, value, entry);
  } catch (error) {
    if (error instanceof NotOfThisForm) return value; // it means something else, and a comparison shows it as it is
    throw error;
  }
}

function readParts(document, entry) {
  const places = Object.entries(entry.parts).filter(([, place]) => place);
  const values = new Map(places.map(([part, place]) => [part, atPlace(document, place)]));
  if (values.size && [...values.values()].every((value) => isNone(value, entry))) return null;
  const there = new Map([...values].filter(([, value]) => value !== undefined));
  if (!there.size) return undefined;
  const hasNone = "none" in entry || "missing" in entry;
  return !hasNone && [...there.values()].every((value) => value === null) ? null : { members: there };
}

/** Return the value at a top-level key or a JSON Pointer (RFC 6901), undefined where there is none. */
function atPlace(document, place) {
  if (!place.startsWith("/")) return place ? document.members.get(place) : undefined;
  let value = document;
  for (const token of place.slice(1).split("/")) {
    const key = token.replaceAll("~1", "/").replaceAll("~0", "~");
    if (value?.members instanceof Map) value = value.members.get(key);
    else value = Array.isArray(value) && /^\d+$/.test(key) ? value[Number(key)] : undefined;
  }
  return value;
}

const isNone = (value, entry) =>
  value === undefined ? entry.missing === true : "none" in entry && equal(value, jsonOf(entry.none));

function jsonOf(text) {
  const value = readJson(new TextEncoder().encode(text));
  if (value === undefined) throw new GoldenError(`INDEX.json: no JSON: ${inShort(text)}`);
  return value;
}

const isWhole = (value) => isNumber(value) && /^-?\d+$/.test(value.number);

/** Say whether two JSON values are the same; a whole number and a fraction are not. */
function equal(one, other) {
  if (isNumber(one) && isNumber(other))
    return isWhole(one) === isWhole(other) && Number(one.number) === Number(other.number);
  if (Array.isArray(one))
    return Array.isArray(other) && one.length === other.length && one.every((item, place) => equal(item, other[place]));
  if (one?.members instanceof Map) {
    const keys = other?.members instanceof Map && other.members.size === one.members.size ? [...one.members.keys()] : [""];
    return keys.every((key) => other?.members?.has(key) && equal(one.members.get(key), other.members.get(key)));
  }
  return one === other;
}

// Forms ---------------------------------------------------------------------------------------------------------------

class NotOfThisForm extends Error {}

/** Return a value where a condition of its form holds. */
function must(holds, value) {
  if (!holds) throw new NotOfThisForm();
  return value;
}

/** Return an integer, given as a number or as text, in decimal text. */
function whole(value) {
  const text = isWhole(value) ? value.number : value;
  return String(BigInt(must(typeof text === "string" && /^-?\d+$/.test(text), text)));
}

const items = (value) => must(Array.isArray(value), value);
const member = (value, key) => must(value?.members instanceof Map && value.members.has(key), value?.members?.get(key));
const count = (value) => ({ number: whole(value) });

function ids(value, { id }) {
  return items(value)
    .map((item) => whole(id ? member(item, id) : item))
    .join(",");
}

function numberOf(text) {
  if (/^-?\d+$/.test(text)) return count(text);
  return { number: must(/^-?\d*\.?\d+(?:[eE][+-]?\d+)?$/.test(text), text) };
}

/** Kind of form -> what makes the contract's form of a value; NotOfThisForm where it is none of this kind. */
const READERS = {
  number: (_, value) => whole(value),
  text: (_, value) => numberOf(must(typeof value === "string", value)),
  hex: (_, value) => {
    const digits = /^(?:0[xX])?([0-9a-fA-F]+)$/.exec(typeof value === "string" ? value : "")?.[1];
    return String(BigInt(`0x${must(digits !== undefined, digits)}`));
  },
  upper: (_, value) => must(typeof value === "string", value).toLowerCase(),
  list: (_, value, form) => ids(value, form),
  joined: (_, value, { separator = "," }) =>
    must(typeof value === "string", value) && value.split(separator).map(whole).join(","),
  objects: (name, value, form) =>
    name === "tokenizer_output"
      ? ids(value, form)
      : items(value).map((item) => [member(item, form.id), ...(form.logit ? [member(item, form.logit)] : [])]),
  ids: (_, value) => items(value).map((item) => [count(item)]),
  parallel: (_, value, { id, logit }) => {
    const [tokens, logits] = [items(member(value, id)), items(member(value, logit))];
    return must(tokens.length === logits.length, tokens).map((token, place) => [token, logits[place]]);
  },
  map: (_, value) => Array.from(must(value?.members instanceof Map, value).members, ([id, logit]) => [count(id), logit]),
  flat: (_, value) => {
    const flat = must(items(value).length % 2 === 0, value);
    return Array.from({ length: flat.length / 2 }, (_item, place) => [flat[2 * place], flat[2 * place + 1]]);
  },
};
