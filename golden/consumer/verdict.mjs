// @ts-check
// Verdicts (FORMAT.md, section 7, step 7).

import { isExpectedFailure, outcome } from "./compare.mjs";
import { alternatives } from "./values.mjs";

export const FINE = ["MATCH", "BOTH_FAILED", "UNSUPPORTED"];

const isFailure = ({ kind, value }) => (kind === "status" ? value !== 0 : kind !== "value" && kind !== "none");

export function judge({ expect }, seen, { first }, statuses) {
  if (first === null) {
    const last = expect.steps.at(-1);
    return [alternatives(last).every(isExpectedFailure) ? "BOTH_FAILED" : "MATCH", ""];
  }
  const found = seen[first.step] ?? { kind: "error", detail: "the session ended before this step" };
  if (found.kind === "limit") return ["POISONED", found.detail];
  const refused = outcome(found, statuses);
  const answers = alternatives(expect.steps[first.step]);
  const [{ field, expected }] = first.differences;
  const isKind = ["status", "value", "none", "trap"].includes(field);
  const wasExpected = answers.every(isExpectedFailure);
  if (!isKind || wasExpected === isFailure(found)) return ["MISMATCH", ""];
  const reason = `expected ${answers.length > 1 ? "another answer" : expected}, the build: ${refused}`;
  return [wasExpected ? "ONLY_REF_FAILED" : "ONLY_WASM_FAILED", reason];
}

/** Return the trace of the first sampled token that differs, null where the step samples none. */
export function firstDifferentSample({ expect }, { step, differences }) {
  const samples = expect.samples.filter((sample) => sample.step === step);
  const result = differences.find(({ field }) => field === "result");
  const text = result && alternatives(result.expected)[0];
  if (!text) return samples.at(-1) ?? null;
  let equal = 0;
  while (equal < text.length && text[equal] === result.found[equal]) equal += 1;
  const offset = equal >> 1;
  // A token below 256 is one byte of the text in every byte vocabulary. Otherwise the trace does not say where the text
  // of a token begins, and its place among the tokens is estimated from the place in the text.
  const written = samples.filter(({ token }) => token < 256 || token > 259);
  const isExact = written.length === text.length / 2;
  const place = isExact ? offset : Math.floor((offset * 2 * written.length) / text.length);
  return written[place] ?? samples.at(-1) ?? null;
}
