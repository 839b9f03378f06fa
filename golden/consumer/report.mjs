// @ts-check
// The report: sums, exit code, and the whole of it as text (FORMAT.md, section 7, steps 8 and 9).

import { FINE } from "./verdict.mjs";
import { MEANINGS, caseLines, shown, verdictLabel } from "./words.mjs";

export const REPORT_VERSION = 1;

export const emptySum = () => ({ cases: 0, steps: 0, fields: 0, verdicts: {} });

export const emptyResult = (id) => ({
  ...{ id, rules: [], verdict: "", reason: "", steps: 0, fields: 0, lost: {} },
  ...{ first_difference: null, sample: null, candidates: [], seconds: 0 },
});

export function addToReport(report, result) {
  const name = result.id.split("/")[0];
  let family = report.families.find((sum) => sum.name === name);
  if (!family) report.families.push((family = { name, ...emptySum() }));
  for (const sum of [report.summary, family]) {
    sum.cases += 1;
    sum.steps += result.steps;
    sum.fields += result.fields;
    sum.verdicts[result.verdict] = (sum.verdicts[result.verdict] ?? 0) + 1;
  }
  for (const [field, count] of Object.entries(result.lost)) report.lost[field] = (report.lost[field] ?? 0) + count;
  report.cases.push(result);
}

export function exitCode({ build, cases, summary }, wanted, required) {
  if (cases.some(({ verdict }) => verdict === "ORACLE_CRASH")) return 4;
  if (required in build.absent) return 1;
  return cases.length === wanted && cases.every(({ verdict }) => FINE.includes(verdict)) && summary.steps > 0 ? 0 : 1;
}

/** Return the report as the machine-readable document of section 7: without what only the words for people need. */
export function reportDocument(report) {
  const cases = report.cases.map(({ candidates, rules, lost, missing, ...result }) => result);
  return { ...report, cases };
}

/** Return what was run against what, one fact a line. */
export function headerLines({ build, golden }) {
  return [
    `build     ${shown(build.name)}  sha256 ${build.sha256}`,
    `contract  ${golden.contract}, profile ${golden.profile}`,
    `goldens   format ${golden.format}, root ${golden.root}`,
    ...fieldLines(golden).map((line) => `field     ${line}`),
  ];
}

/** Return where and how the build of these goldens writes fields otherwise than the contract, one a line. */
export const fieldLines = ({ fields }) => Object.entries(fields).map(([name, text]) => `${name} ${shown(text)}`);

/** Return the sums by family as a table: a list of rows, the first being the heads. */
export function familyTable({ families, summary }) {
  const verdicts = Object.keys(MEANINGS).filter((verdict) => summary.verdicts[verdict]);
  const row = (sum) => [
    sum.name,
    sum.cases,
    sum.steps,
    sum.fields,
    ...verdicts.map((verdict) => sum.verdicts[verdict] ?? 0),
  ];
  const heads = ["family", "cases", "steps", "fields", ...verdicts.map(verdictLabel)];
  return [heads, ...families.map(row), row({ name: "all", ...summary })].map((cells) => cells.map(String));
}

/** Return the fields that could not be compared, in words; empty if all could. */
export function lostLine({ lost }) {
  const fields = Object.entries(lost).map(([field, count]) => `${field} (${count})`);
  return fields.length ? `not compared, because the build does not show them: ${fields.join(", ")}` : "";
}

/** Return what the build does not have, in words; empty if it has all. */
export function absentLine({ build, cases }) {
  const rows = Object.entries(build.absent).map(([name, status]) => {
    const count = cases.filter(({ missing }) => missing === name).length;
    return `${name} (${status}, ${count} cases)`;
  });
  return rows.length ? `absent, because the build refuses a plain file of it: ${rows.join(", ")}` : "";
}

/** Return the whole report as text. */
export function reportLines(report) {
  const lines = headerLines(report);
  if (report.problems.length) {
    lines.push("", "The module does not have the surface of the contract (ABI-1, ABI-2), so nothing was run:");
    for (const { name, expected, found } of report.problems)
      lines.push(`  ${name}: expected ${expected}, found ${found}`);
    return lines;
  }
  for (const result of report.cases) {
    const isGivenUp = result.verdict === "POISONED" && result.reason.startsWith("not run");
    if (!FINE.includes(result.verdict) && !isGivenUp) lines.push("", ...caseLines(result));
  }
  const table = familyTable(report);
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
  const align = (cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]));
  lines.push("", ...table.map((row) => row.map(align).join("  ")), "");
  if (lostLine(report)) lines.push(lostLine(report));
  if (absentLine(report)) lines.push(absentLine(report));
  return [...lines, lastLine(report)];
}

/** Return the outcome in one line. */
export function lastLine({ summary, exit_code: code }) {
  const { cases, steps, fields, verdicts } = summary;
  const wrong = Object.entries(verdicts).filter(([verdict]) => !FINE.includes(verdict));
  const compared = `${cases} cases, ${steps} steps and ${fields} fields compared`;
  const outcomes = wrong.map(([verdict, count]) => `${count} ${verdict}`).join(", ");
  return `${code === 0 ? "fine" : "NOT FINE"}: ${compared}${outcomes ? `; ${outcomes}` : ""}`;
}
