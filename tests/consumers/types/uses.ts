// Checked by tsc, never run: the declared types are those of the modules, and a use as in the documents is allowed.

import * as declared from "refruntime-goldens";
import * as declaredRecorder from "refruntime-goldens/record";
import * as consumer from "../../../golden/consume.mjs";
import * as recorder from "../../../golden/record.mjs";

type Names<Module> = keyof Module;
type Same<One, Other> = [One] extends [Other] ? ([Other] extends [One] ? true : never) : never;

export const sameRecorderNames: Same<Names<typeof recorder>, Names<typeof declaredRecorder>> = true;
// Goldens and the comparison of single steps are exported, but no promise.
export const sameNames: Same<Exclude<Names<typeof consumer>, "Golden" | "compare">, Names<typeof declared>> = true;

export async function use(read: (path: string) => Promise<Uint8Array>, startWorker: declared.StartWorker) {
  const report = await declared.consume({ read, startWorker, bytes: new Uint8Array(), name: "x", filters: ["SA-5"] });
  const [first] = report.cases;
  if (!declared.FINE.includes(first.verdict)) console.log(declared.caseLines(first).join("\n"));
  const document: declared.ReportDocument = declared.reportDocument(report);
  // @ts-expect-error: a verdict is not any text
  const verdict: declared.Verdict = "FINE";
  return [document.summary.verdicts.MATCH ?? 0, verdict];
}

export async function keep(bytes: Uint8Array<ArrayBuffer>) {
  const { instance, module } = await WebAssembly.instantiate(bytes, {});
  const recorded = declaredRecorder.record(instance, { module, wasm: bytes, name: "first chat" });
  recorded.download("recording.json");
  return recorded.recording().build.exports.length;
}
