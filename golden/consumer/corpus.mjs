// @ts-check
// Goldens: files, hashes and shapes (FORMAT.md, sections 3 to 5).

import { dialectTexts, isDialectEntry } from "./dialect.mjs";
import { fits } from "./pattern.mjs";
import { ConsumeError, GoldenError, alternatives, byCodePoint, bytesOf, hashOf, inShort, isObject, readNpy, sha256 } from "./values.mjs";

export const FORMAT = 1;
const DIALECT_FORMAT = 2; // of an index whose build writes diagnostics at other places or in other forms

/** The goldens below a place; `read(path)` gives the bytes of a file there, or ConsumeError with exit code 3. */
export class Golden {
  static async open(read) {
    const data = await read("INDEX.json");
    try {
      const index = parseJson(data, "INDEX.json");
      if (!isObject(index)) throw new GoldenError("INDEX.json is no object");
      const { root, ...rest } = index;
      if (index.format !== FORMAT && index.format !== DIALECT_FORMAT) {
        const known = `${FORMAT} and ${DIALECT_FORMAT}`;
        throw new GoldenError(`INDEX.json has format ${inShort(index.format)}; this consumer reads formats ${known}`);
      }
      if ((await hashOf(rest)) !== root) throw new GoldenError("INDEX.json: its root hash does not fit");
      checkIndex(index);
      return new Golden(read, index);
    } catch (error) {
      throw error instanceof GoldenError ? new ConsumeError(error.message, 1) : error;
    }
  }

  constructor(read, index) {
    this.read = read;
    this.index = index;
    this.artifacts = new Map();
  }

  /** Return what reports say about the goldens. */
  get about() {
    const { format, contract, profile, root, diagnostics } = this.index;
    return { format, contract, profile: profile.fingerprint, root, fields: dialectTexts(diagnostics) };
  }

  /** Return the ids that fit any of the filters, all without filters, by code point. */
  select(filters) {
    const isMeant = ([id, { rules }]) => filters.length === 0 || filters.some((filter) => fits(id, rules, filter));
    return Object.entries(this.index.cases)
      .filter(isMeant)
      .map(([id]) => id)
      .sort(byCodePoint);
  }

  /** Read a case with its artifacts; `stale` says which hash does not fit, empty if all do. */
  async case(id) {
    const entry = this.index.cases[id];
    const session = parseJson(await this.read(`cases/${id}/case.json`), `cases/${id}/case.json`);
    const expect = parseJson(await this.read(`cases/${id}/expect.json`), `cases/${id}/expect.json`);
    const caseHash = await hashOf(session);
    const found = { id, session, expect, entry, models: {}, stale: "" };
    if (caseHash !== entry.case) return { ...found, stale: "the hash of case.json does not fit INDEX.json" };
    if ((await hashOf(expect)) !== entry.expect) {
      return { ...found, stale: "the hash of expect.json does not fit INDEX.json" };
    }
    checkShape(session, expect, id, this.about);
    for (const [name, hash] of Object.entries(entry.arrays)) {
      if ((await sha256(await this.read(`cases/${id}/${name}`))) !== hash) {
        return { ...found, stale: `the hash of ${name} does not fit INDEX.json` };
      }
    }
    const hashes = {};
    for (const [name, recipe] of Object.entries(session.models ?? {})) {
      const { bytes, hash } = await this.artifact(recipe.file);
      if (hash !== this.index.models[recipe.file]?.sha256) {
        return { ...found, stale: `the hash of ${recipe.file} does not fit INDEX.json` };
      }
      const changed = recipe.length !== undefined || recipe.patch || recipe.append !== undefined;
      found.models[name] = changed ? applied(recipe, bytes) : bytes;
      hashes[name] = changed ? await sha256(found.models[name]) : hash;
    }
    if ((await hashOf({ case: caseHash, models: hashes })) !== expect.inputs) {
      found.stale = "expect.json was made from another case or other models";
    }
    return found;
  }

  async artifact(path) {
    if (!this.artifacts.has(path)) {
      const bytes = await this.read(path);
      this.artifacts.set(path, { bytes, hash: await sha256(bytes) });
    }
    return this.artifacts.get(path);
  }

  /** Return the kept candidates of a sample as `[id, weight]`, none for a token that was not drawn. */
  async candidates(id, sample) {
    if (sample.greedy !== undefined) return [];
    const columns = [];
    for (const name of ["ids.npy", "weights.npy"]) {
      const numbers = readNpy(await this.read(`cases/${id}/${name}`));
      columns.push(numbers.slice(sample.first, sample.first + sample.kept));
    }
    return columns[0].map((token, place) => [token, columns[1][place]]);
  }
}

const ID = /^[a-z0-9][a-z0-9.-]*\/[a-z0-9][a-z0-9.-]*$/;
const MODEL_FILE = /^models\/(?!\.)[A-Za-z0-9._-]+$/;

const isListOf = (names, members) =>
  Array.isArray(names) && isObject(members) && names.every((name) => Object.hasOwn(members, name));

const isFeatureTable = (table, models) =>
  isObject(table?.plain) &&
  Array.isArray(table.refusals) &&
  [table.required, table.absence, table.refusal].every((text) => typeof text === "string") &&
  Object.values(table.plain).every(
    (entry) =>
      typeof entry?.title === "string" &&
      isListOf(entry.needs, table.plain) &&
      MODEL_FILE.test(entry.file) &&
      Object.hasOwn(models ?? {}, entry.file),
  );

const KINDS = ["count", "float", "boolean", "string", "decimal", "pairs", "summary"];

/** Say whether a value lists fields of known kinds, and every one that the build has a name for. */
const areFields = (fields, names) =>
  Array.isArray(fields) &&
  isObject(names) &&
  fields.every((field) => KINDS.includes(field?.kind) && Object.hasOwn(names, field.name)) &&
  Object.keys(names).every((name) => fields.some((field) => field.name === name));

/** Check as much of an index as running its cases needs, and that it names no file elsewhere: GoldenError. */
function checkIndex(index) {
  const isEntry = (entry) =>
    Array.isArray(entry?.rules) &&
    isListOf(entry.features, index.features?.plain) &&
    isObject(entry.arrays) &&
    Object.keys(entry.arrays).every((name) => name === "ids.npy" || name === "weights.npy");
  const isExport = (item) => Array.isArray(item?.parameters) && typeof item.result === "string";
  const checks = {
    profile: isObject(index.profile),
    statuses: isObject(index.statuses),
    exports: isObject(index.exports) && Object.values(index.exports).every(isExport),
    diagnostics:
      isObject(index.diagnostics) &&
      Object.values(index.diagnostics).every((entry) => isDialectEntry(entry, index.format)),
    fields: areFields(index.fields, index.diagnostics),
    features: isFeatureTable(index.features, index.models),
    cases: isObject(index.cases) && Object.entries(index.cases).every(([id, entry]) => ID.test(id) && isEntry(entry)),
    models: isObject(index.models) && Object.keys(index.models).every((file) => MODEL_FILE.test(file)),
  };
  const wrong = Object.keys(checks).find((name) => !checks[name]);
  if (wrong) throw new GoldenError(`INDEX.json: ${wrong} is not as FORMAT.md says`);
}

/** Check as much of a case as running it needs: GoldenError. */
function checkShape(session, expect, id, { contract, profile }) {
  if (!isObject(session) || !isObject(expect)) throw new GoldenError("case.json or expect.json is no object");
  const areSteps = (value) => Array.isArray(value) && value.length > 0 && value.every(isObject);
  const checks = {
    "case.json: format": session.format === FORMAT,
    "case.json: models": Object.values(session.models ?? {}).every((recipe) => MODEL_FILE.test(recipe?.file)),
    "case.json: steps": areSteps(session.steps),
    "expect.json: format": expect.format === FORMAT,
    "expect.json: case": expect.case === id,
    "expect.json: contract": expect.contract === contract,
    "expect.json: profile": expect.profile === profile,
    "expect.json: samples": Array.isArray(expect.samples) && expect.samples.every(isObject),
    "expect.json: steps": areSteps(expect.steps) && areSteps(session.steps) && isWhole(expect.steps, session.steps),
  };
  const wrong = Object.keys(checks).find((name) => !checks[name]);
  if (wrong) throw new GoldenError(`${wrong} is not as FORMAT.md says`);
}

/** Say whether every step has an answer; after a trap the rest may be left out. */
const isWhole = (answers, steps) =>
  answers.length === steps.length ||
  (answers.length < steps.length && alternatives(answers.at(-1)).some((entry) => "trap" in entry));

function parseJson(bytes, path) {
  try {
    // A byte order mark is kept, and is no JSON.
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    throw new GoldenError(`${path}: ${error.message}`);
  }
}

/** Cut, patch and extend an artifact as the recipe of a case says. */
function applied({ length, patch = [], append = "" }, bytes) {
  const kept = bytes.subarray(0, length ?? bytes.length);
  const isPlace = (number) => Number.isInteger(number) && number >= 0;
  const fits = ({ at, hex: digits }) => isPlace(at) && at + bytesOf(digits).length <= kept.length;
  if (!(isPlace(length ?? 0) && (length ?? 0) <= bytes.length && Array.isArray(patch) && patch.every(fits)))
    throw new GoldenError("case.json: a model is cut or patched beyond its end");
  const tail = bytesOf(append);
  const whole = new Uint8Array(kept.length + tail.length);
  whole.set(kept);
  for (const { at, hex: digits } of patch) whole.subarray(0, kept.length).set(bytesOf(digits), at);
  whole.set(tail, kept.length);
  return whole;
}
