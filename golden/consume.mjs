#!/usr/bin/env node
// @ts-check
// Run the goldens beside this file on a WebAssembly build, as FORMAT.md says (section 7).
//
//   node golden/consume.mjs build.wasm     Node 18 or newer; --help lists the options
//   golden/consume.html                    the same in a browser
//
// The parts lie in consumer/, each with one job; none needs a bundler. The build runs in a thread of its own.

export { Build } from "./consumer/build.mjs";
export { compare } from "./consumer/compare.mjs";
export { FORMAT, Golden } from "./consumer/corpus.mjs";
export {
  REPORT_VERSION,
  absentLine,
  familyTable,
  fieldLines,
  headerLines,
  lastLine,
  lostLine,
  reportDocument,
  reportLines,
} from "./consumer/report.mjs";
export { DEFAULT_SECONDS, consume } from "./consumer/run.mjs";
export { ConsumeError, GoldenError } from "./consumer/values.mjs";
export { FINE } from "./consumer/verdict.mjs";
export { MEANINGS, caseLines } from "./consumer/words.mjs";

if (typeof process === "object" && process.versions?.node && process.argv[1]) {
  const { isMainThread } = await import("node:worker_threads");
  const { runFromCommandLine } = await import("./consumer/cli.mjs");
  if (isMainThread) await runFromCommandLine(new URL(import.meta.url));
}
