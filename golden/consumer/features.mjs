// @ts-check
// What a build has (FORMAT.md, section 7, step 4).

import { outcome } from "./compare.mjs";
import { emptyResult } from "./report.mjs";
import { ConsumeError, byCodePoint } from "./values.mjs";

/** Return features and all that they stand on, by code point: a container comes before what is in it. */
function withNeeds(names, plain) {
  const found = new Set();
  const add = (name) => {
    if (found.has(name)) return;
    found.add(name);
    plain[name].needs.forEach(add);
  };
  names.forEach(add);
  return [...found].sort(byCodePoint);
}

/**
 * Ask a build for the features that cases need, each on a fresh instance: the names of those whose plain file it refuses
 * with the status of the refusal. What stands on an absent feature is not asked; after a limit nothing more is.
 */
export async function findAbsent(golden, build, ids) {
  const { features, cases, statuses, models } = golden.index;
  const absent = {};
  const asked = new Set();
  for (const name of withNeeds(new Set(ids.flatMap((id) => cases[id].features)), features.plain)) {
    const { file, needs } = features.plain[name];
    if (needs.some((need) => need in absent || !asked.has(need))) continue;
    const { bytes, hash } = await golden.artifact(file);
    if (hash !== models[file].sha256) throw new ConsumeError(`${file}: its hash does not fit INDEX.json`, 1);
    asked.add(name);
    const { seen } = await build.run([{ call: ["init_runtime"] }, { load: "plain" }], { plain: bytes });
    const answer = seen.at(-1);
    if (answer?.kind === "limit") break;
    const status = seen.length === 2 && answer.kind === "status" ? outcome(answer, statuses) : "";
    if (features.refusals.includes(status)) absent[name] = status;
  }
  return absent;
}

/** Return the first absent feature that a case needs, if any. */
export const missingFeature = (id, { features, cases }, absent) =>
  withNeeds(cases[id].features, features.plain).find((name) => name in absent);

export const sentence = (text, { title }, status) => text.replace("{title}", () => title).replace("{status}", () => status);

/** Return what shows that the build refuses the plain file on which all stands. */
export function refusedResult({ features }, status) {
  const { required, plain, refusal } = features;
  const fields = [{ field: "status", expected: "Ok", found: status }];
  return {
    ...emptyResult(`features/${required}`),
    ...{ rules: ["ID-1", "ST-3"], verdict: "ONLY_WASM_FAILED", reason: sentence(refusal, plain[required], status) },
    ...{ steps: 1, fields: 1, first_difference: { step: 0, call: `load_model ${required}`, fields } },
  };
}
