// @ts-check
// One run in short: what ran against what, verdicts by family, the legend, what the build does not have.

import { NOT_RUN, VERDICTS, count, element, group, isFine, label, make, mark, meaning } from "./page-parts.mjs";
import { absentLine, fieldLines, lostLine } from "./report.mjs";

/** Show the summary of a report; `choose(family, verdict)` shows the cases behind a number. */
export function showSummary(report, choose) {
  const { build, golden, summary } = report;
  const facts = [
    ["build", `${build.name}   sha256 ${build.sha256}`],
    ["contract", `${golden.contract}, profile ${golden.profile}`],
    ["goldens", `format ${golden.format}, root ${golden.root}`],
    ...fieldLines(golden).map((line) => ["field", line]),
  ];
  element("facts").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
  showFamilies(report, choose);
  element("lost").textContent = lostLine(report);
  showAbsent(report);
  showLegend(VERDICTS.filter((verdict) => summary.verdicts[verdict]));
  element("legend").open = true;
}

/** Show what verdicts mean, in the order of the table. */
export function showLegend(verdicts) {
  const rows = inOrder(verdicts).flatMap((verdict) => [
    make("dt", `${mark(verdict)} ${label(verdict)}`, { class: `mono ${verdict}` }),
    make("dd", meaning(verdict)),
  ]);
  element("legend-list").replaceChildren(...rows);
}

/** Return verdicts with those first that somebody has to look at. */
export const inOrder = (verdicts) => [
  ...verdicts.filter((verdict) => !isFine(verdict)),
  ...verdicts.filter((verdict) => isFine(verdict)),
];

/** The sums by family: first what matters, so that a narrow screen shows it without scrolling. */
function showFamilies({ families, summary }, choose) {
  const verdicts = inOrder(VERDICTS.filter((verdict) => summary.verdicts[verdict]));
  const counts = ["cases", "steps", "fields"];
  const heads = ["family", ...verdicts, ...counts];
  const cell = (sum, head) => {
    if (head === "family") return make("th", sum.name, { scope: "row" });
    if (counts.includes(head)) return make("td", String(sum[head]), { class: "count" });
    const number = sum.verdicts[head] ?? 0;
    if (number === 0) return make("td", "\u00b7", { class: "zero", "aria-label": "0" });
    const said = `show ${number} ${label(head)} of ${sum.name}`;
    const button = make("button", String(number), { type: "button", "aria-label": said, class: head });
    button.onclick = () => choose(sum.name, head);
    return group("td", [button]);
  };
  const line = (sum) => group("tr", heads.map((head) => cell(sum, head)));
  const head = heads.map((name) =>
    make("th", VERDICTS.includes(name) ? `${mark(name)} ${label(name)}` : name, {
      scope: "col",
      class: counts.includes(name) ? "count" : name,
      title: VERDICTS.includes(name) ? meaning(name) : "",
    }),
  );
  const table = element("families");
  table.tHead.replaceChildren(group("tr", head));
  table.tBodies[0].replaceChildren(...families.map(line));
  table.tFoot.replaceChildren(line({ name: "all", ...summary }));
}

function showAbsent(report) {
  const absent = Object.keys(report.build.absent);
  const cases = report.cases.filter(({ missing }) => missing !== undefined).length;
  element("absent").hidden = absent.length === 0;
  element("absent-count").textContent = `${count(absent.length, "feature")} absent, ${count(cases, "case")} not run`;
  element("absent-list").textContent = absentLine(report);
}

/** Show the legend of a page on which nothing ran yet. */
export function showWholeLegend() {
  showLegend(VERDICTS);
  element("legend-list").append(make("dt", `${mark(NOT_RUN)} ${NOT_RUN}`, { class: "mono" }), make("dd", "no build was asked"));
}
