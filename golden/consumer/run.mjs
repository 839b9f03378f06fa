// @ts-check
// Run the goldens on a build: every case, its verdict, the report (FORMAT.md, section 7).

import { Build } from "./build.mjs";
import { compare } from "./compare.mjs";
import { Golden } from "./corpus.mjs";
import { findAbsent, missingFeature, refusedResult, sentence } from "./features.mjs";
import { REPORT_VERSION, addToReport, emptyResult, emptySum, exitCode } from "./report.mjs";
import { interfaceProblems, readSurface } from "./surface.mjs";
import { ConsumeError, GoldenError, sha256 } from "./values.mjs";
import { FINE, firstDifferentSample, judge } from "./verdict.mjs";
import { describeStep } from "./words.mjs";

export const DEFAULT_SECONDS = 10;

const MOST_LIMITS = 5; // cases that a limit may stop before the rest is given up: a hanging build must not hang the run

const READ_AHEAD = 16; // cases

/**
 * Run the goldens on a build and return the report of section 7.
 *
 * `read(path)` reads below golden/, `startWorker` is as for `Build`. `onStart(report, ids)` is called when the build is
 * compiled, `onCase(result, done)` after every case; `build` receives the running build, so that its owner can end it.
 */
export async function consume({ read, startWorker, bytes, name, filters = [], seconds = DEFAULT_SECONDS, ...hooks }) {
  const golden = await Golden.open(read);
  const ids = golden.select(filters);
  if (ids.length === 0)
    throw new ConsumeError(`no case fits ${filters.join(", ") || "the goldens: there are none"}`, 1);
  const { index } = golden;
  const report = {
    version: REPORT_VERSION,
    build: { name, sha256: await sha256(bytes), offered: [], absent: {} },
    golden: golden.about,
    exit_code: 1,
    problems: [],
    summary: emptySum(),
    families: [],
    lost: {},
    cases: [],
  };
  const settings = { exports: index.exports, diagnostics: Object.entries(index.diagnostics) };
  const build = new Build(startWorker, bytes, settings, seconds);
  hooks.build?.(build);
  try {
    await build.compile();
    report.problems = interfaceProblems(readSurface(bytes), index.exports);
    if (report.problems.length) return report;
    const { seen } = await build.run([{ call: ["init_runtime"] }], {});
    report.build.offered = Object.keys(seen[0]?.diagnostics ?? {}).sort();
    const absent = (report.build.absent = await findAbsent(golden, build, ids));
    hooks.onStart?.(report, ids);
    const { required } = index.features;
    if (required in absent) {
      const refused = refusedResult(index, absent[required]);
      addToReport(report, refused);
      await hooks.onCase?.(refused, report);
    }
    const openings = new Map(); // files of the next cases are read while one runs
    let limits = 0;
    for (const [place, id] of ids.entries()) {
      if (hooks.isStopped?.()) break;
      for (const next of ids.slice(place, place + READ_AHEAD).filter((other) => !openings.has(other))) {
        const opening = golden.case(next);
        opening.catch(() => {}); // it is awaited when its turn comes
        openings.set(next, opening);
      }
      const opening = openings.get(id);
      openings.set(id, null);
      const result =
        limits < MOST_LIMITS
          ? (unsupported(index, id, absent) ?? (await runCase(golden, build, opening, id, report.build.offered)))
          : notRun(golden, id, limits);
      if (result.verdict === "POISONED") limits += 1;
      addToReport(report, result);
      await hooks.onCase?.(result, report);
    }
  } finally {
    build.end();
  }
  report.exit_code = exitCode(report, ids.length, index.features.required);
  return report;
}

async function runCase(golden, build, opening, id, offered) {
  const result = emptyResult(id);
  try {
    const opened = await opening;
    result.rules = opened.entry.rules;
    if (opened.stale) return { ...result, verdict: "STALE", reason: opened.stale };
    const steps = opened.session.steps.slice(0, opened.expect.steps.length);
    const began = performance.now();
    const { seen, crash } = await build.run(steps, opened.models);
    result.seconds = Math.round(performance.now() - began) / 1000;
    if (crash) return { ...result, verdict: "ORACLE_CRASH", reason: crash };
    const compared = compare(opened.expect.steps, seen, offered, golden.index);
    const { steps: stepCount, fields, lost, first } = compared;
    [result.verdict, result.reason] = judge(opened, seen, compared, golden.index.statuses);
    Object.assign(result, { steps: stepCount, fields, lost });
    if (first) {
      result.first_difference = { step: first.step, call: describeStep(steps[first.step]), fields: first.differences };
      if (!FINE.includes(result.verdict)) result.sample = firstDifferentSample(opened, first);
      if (result.sample) result.candidates = await golden.candidates(id, result.sample);
    }
    return result;
  } catch (error) {
    if (error instanceof ConsumeError) throw error;
    if (error instanceof GoldenError) return { ...result, verdict: "STALE", reason: error.message };
    return { ...result, verdict: "ORACLE_CRASH", reason: error.stack ?? String(error) };
  }
}

/** Return the result of a case that needs what the build does not have; undefined for any other. */
function unsupported(index, id, absent) {
  const name = missingFeature(id, index, absent);
  if (name === undefined) return undefined;
  const reason = sentence(index.features.absence, index.features.plain[name], absent[name]);
  return { ...emptyResult(id), rules: index.cases[id].rules, verdict: "UNSUPPORTED", reason, missing: name };
}

function notRun(golden, id, limits) {
  const reason = `not run: a limit stopped the build ${limits} times before`;
  return { ...emptyResult(id), rules: golden.index.cases[id].rules, verdict: "POISONED", reason };
}
