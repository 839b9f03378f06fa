// @ts-check
// Words for people: values, steps and differences made visible.

import { alternatives, bytesOf, floatOf, hex, isEither } from "./values.mjs";

export const MEANINGS = {
  MATCH: "every compared field of every step agrees",
  BOTH_FAILED: "every step agrees, and the case ends in the failure that it expects",
  UNSUPPORTED: "the build does not have what the case needs",
  POISONED: "a limit stopped the build; what follows cannot be compared",
  ONLY_WASM_FAILED: "the build answers with a failure or traps where success is expected",
  ONLY_REF_FAILED: "the build succeeds where a failure is expected",
  MISMATCH: "the build answers otherwise",
  STALE: "the files of the case do not belong together: fill or fetch the goldens again",
  ORACLE_CRASH: "a bug in this consumer",
};

/** Return a verdict in words for people: a refusal that was expected must not look like a failure. */
export const verdictLabel = (verdict) => (verdict === "BOTH_FAILED" ? "refused alike" : verdict);

/** Return what a verdict means, with the name that JSON has for it where that is another one. */
export const verdictMeaning = (verdict) =>
  MEANINGS[verdict] + (verdictLabel(verdict) === verdict ? "" : `; JSON calls it ${verdict}`);

export function describeStep(step) {
  if ("write" in step) return `write ${bytesOf(step.bytes).length} bytes to ${step.write}`;
  if ("load" in step) return `load_model ${step.load}`;
  if ("configure" in step) {
    const { temperature, top_k, top_p, seed } = step.configure;
    return `set_sampling_config(${temperature}, ${top_k}, ${top_p}, ${seed})`;
  }
  if ("generate" in step) return `generate(${visible(bytesOf(step.generate.prompt))}, ${step.generate.max_new_tokens})`;
  const [name, ...given] = step.call;
  return `${name}(${given.join(", ")})${step.bind ? ` -> ${step.bind}` : ""}`;
}

const SHOWN_BYTES = 60;

/** Return text with everything in it made visible. */
export function shown(text) {
  return text.replace(/["\\]|[^\P{C}]|[^\P{Z} ]/gu, (character) => {
    const named = { '"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" }[character];
    return named ?? `\\u{${character.codePointAt(0).toString(16)}}`;
  });
}

/** Return bytes as text in quotes; what is not UTF-8 as `\x..`, what is long cut around `offset`. */
export function visible(bytes, offset = 0) {
  const start = Math.max(0, offset - SHOWN_BYTES / 2);
  const end = Math.min(bytes.length, start + SHOWN_BYTES);
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (let place = start, length; place < end; place += length) {
    let character;
    for (length = 1; length <= 4 && character === undefined; length += 1) {
      try {
        character = decoder.decode(bytes.subarray(place, place + length));
      } catch {
        character = undefined; // not whole yet, or not UTF-8
      }
    }
    length = character === undefined ? 1 : length - 1;
    text += character === undefined ? `\\x${hex(bytes.subarray(place, place + 1))}` : shown(character);
  }
  return `${start ? "..." : ""}"${text}"${end < bytes.length ? "..." : ""}`;
}

const HEX_FLOAT = /^-?0x[01](?:\.[0-9a-f]+)?p[+-]\d+$/;

/** Return the shortest decimal that reads back as this float32. */
function decimal(number) {
  for (let digits = 1; digits < 9; digits += 1) {
    if (Math.fround(Number(number.toPrecision(digits))) === number) return String(Number(number.toPrecision(digits)));
  }
  return String(Number(number.toPrecision(9)));
}

const readable = (value) => {
  if (typeof value === "string" && HEX_FLOAT.test(value)) return `${decimal(floatOf(value))} (${value})`;
  if (typeof value === "string") return `"${shown(value)}"`;
  if (Array.isArray(value)) return `[${value.map(readable).join(", ")}]`;
  if (isEither(value)) return value.either.map(readable).join(" or ");
  if (value === null || typeof value !== "object") return String(value);
  return `{${Object.entries(value)
    .map(([key, item]) => `${shown(key)}: ${readable(item)}`)
    .join(", ")}}`;
};

const label = (name, text) => `${name.padEnd(20)}${text}`;
const KINDS = ["status", "value", "none", "trap"];

function differenceLines({ field, expected, found }) {
  if (field === "result") {
    const [mine, theirs] = [bytesOf(alternatives(expected)[0]), bytesOf(found)];
    const offset = mine.findIndex((byte, place) => byte !== theirs[place]);
    const at = offset < 0 ? mine.length : offset; // the shorter is the beginning of the longer
    const lengths = `${mine.length} bytes expected, ${theirs.length} found; they differ at byte ${at}`;
    return [label("result", lengths), label("  expected", visible(mine, at)), label("  found", visible(theirs, at))];
  }
  const text = (value) => (KINDS.includes(field) && typeof value === "string" ? shown(value) : readable(value));
  const cut = (line) => (line.length > 400 ? `${line.slice(0, 397)}...` : line);
  const [mine, theirs] = [cut(text(expected)), cut(text(found))];
  if (mine.length + theirs.length < 80) return [label(field, `expected ${mine}, found ${theirs}`)];
  return [field, label("  expected", mine), label("  found", theirs)];
}

/** Explain a sampler trace in words. */
export function sampleLines(sample, candidates) {
  const numbers = (name) => decimal(floatOf(sample[name]));
  const best = sample.top.map(([token, logit]) => `${token} (${decimal(floatOf(logit))})`).join(", then ");
  const lines = [`token ${tokenText(sample.token)} was right here; greatest logits: ${best}`];
  if (sample.greedy !== undefined) return [...lines, `taken without a draw: ${shown(String(sample.greedy))}`];
  const output = sample.output === sample.state_after ? "" : `, output ${sample.output}`;
  lines.push(
    label("retained", `${sample.retained} candidates (top_k), weights sum to ${numbers("total")}`),
    label("kept", `${sample.kept} candidates (top_p), whose mass ${numbers("mass")} reaches ${numbers("threshold")}`),
    label("generator", `state ${sample.state_before} -> ${sample.state_after}${output}`),
    label("coin", `u = ${numbers("unit")}, so the point u x mass = ${numbers("point")} (${sample.point})`),
    label("winner", `place ${sample.index} of the kept prefix, where the running sum passes the point:`),
  );
  let sum = 0;
  for (const [place, [token, weight]] of candidates.entries()) {
    sum = Math.fround(sum + weight);
    if (Math.abs(place - sample.index) > 2) continue;
    const mark = place === sample.index ? ">" : " ";
    lines.push(
      `  ${mark} ${String(place).padStart(4)}  ${tokenText(token).padEnd(12)} weight ${decimal(weight)}, sum ${decimal(sum)}`,
    );
  }
  return lines;
}

const tokenText = (token) =>
  token > 32 && token < 127 ? `${token} "${shown(String.fromCharCode(token))}"` : `${token}`;

/** Return everything about one case that is not fine, line by line. */
export function caseLines(result) {
  const { id, verdict, reason, rules, first_difference: first } = result;
  const lines = [label("meaning", MEANINGS[verdict])];
  if (reason) lines.push(...reason.split("\n").map((line, place) => label(place ? "" : "reason", shown(line))));
  if (first) {
    const before =
      first.step < 2 ? ["no step before it", "step 0 agrees"][first.step] : `steps 0-${first.step - 1} agree`;
    lines.push(label(`step ${first.step}`, `${first.call}   (${before})`), ...first.fields.flatMap(differenceLines));
  }
  if (result.sample) lines.push("sampler", ...sampleLines(result.sample, result.candidates).map((line) => `  ${line}`));
  return [`${verdict} ${id}   (${rules.join(", ")})`, ...lines.map((line) => `  ${line}`)];
}
