// @ts-check
// The runs of this page until it is closed: a list, what changed since the run before, several side by side.

import { NOT_RUN, count, element, group, isFine, label, make, mark, meaning } from "./page-parts.mjs";
import { lastLine } from "./report.mjs";
import { byCodePoint } from "./values.mjs";

/** Runs that were finished, and which of them are shown. */
export class Runs {
  /** `show(run)` shows one run, `compare(runs)` several. */
  constructor(show, compare) {
    this.show = show;
    this.compare = compare;
    this.runs = [];
    this.chosen = new Set();
  }

  /** Add a finished run: name of the build, filters, report. */
  add(run) {
    run.number = this.runs.length + 1;
    run.time = new Date();
    run.change = changeSince(this.runs.findLast(({ name }) => name === run.name), run);
    this.runs.push(run);
    this.shown = run;
    this.draw();
  }

  /** Put runs side by side: their marks are set as if by hand. */
  choose(runs) {
    this.chosen = new Set(runs);
    this.draw();
    this.compare([...this.chosen]);
  }

  draw() {
    element("runs").hidden = this.runs.length === 0;
    element("run-list").replaceChildren(...this.runs.map((run) => this.item(run)).reverse());
  }

  item(run) {
    const box = make("input", "", { type: "checkbox", "aria-label": `put run ${run.number} side by side with others` });
    box.checked = this.chosen.has(run);
    box.onchange = () => {
      if (box.checked) this.chosen.add(run);
      else this.chosen.delete(run);
      this.compare([...this.chosen].sort((one, other) => one.number - other.number));
    };
    const button = make("button", `${run.number}  ${run.name}`, { type: "button", class: "mono", title: "show this run" });
    button.onclick = () => {
      this.shown = run;
      this.draw();
      this.show(run);
    };
    const { report } = run;
    const told = [run.time.toLocaleTimeString(), run.filters.length ? `only ${run.filters.join(" ")}` : "", run.change];
    const words = make("span", told.filter(Boolean).join("; "), { class: "quiet" });
    const outcome = make("span", run.failed ?? lastLine(report), { class: report.exit_code === 0 ? "fine" : "wrong" });
    const attributes = run === this.shown ? { "aria-current": "true" } : {};
    return group("li", [box, button, group("span", [outcome, make("br"), words])], attributes);
  }
}

/** Return in words which cases are fine now that were not, and the other way round; empty where nothing changed. */
export function changeSince(before, run) {
  if (!before) return "";
  const old = new Map(before.report.cases.map(({ id, verdict }) => [id, isFine(verdict)]));
  const common = run.report.cases.filter(({ id }) => old.has(id));
  const better = common.filter(({ id, verdict }) => isFine(verdict) && !old.get(id)).length;
  const worse = common.filter(({ id, verdict }) => !isFine(verdict) && old.get(id)).length;
  if (common.length === 0) return "";
  if (better + worse === 0) return `as run ${before.number}`;
  return `since run ${before.number}: ${count(better, "case")} mended, ${count(worse, "case")} broken`;
}

/** Return one entry for each case of any run: id, and its result in each run or null. */
export function sideBySide(runs) {
  const results = runs.map(({ report }) => new Map(report.cases.map((result) => [result.id, result])));
  const ids = [...new Set(results.flatMap((each) => [...each.keys()]))].sort(byCodePoint);
  return ids.map((id) => ({ id, results: results.map((each) => each.get(id) ?? null) }));
}

/** What a build did with a case, for comparing builds: verdict, and where and how it differs first. */
const conduct = (result) => result && JSON.stringify([result.verdict, result.first_difference]);

/** Show several runs as a table of cases by builds; `list` says what the filters let through, `open` opens a case. */
export function showSideBySide(runs, list, open) {
  const table = element("matrix-table");
  const onlyDifferent = element("only-different").checked;
  const heads = runs.map((run) => make("th", `${run.number}  ${run.name}`, { scope: "col" }));
  table.tHead.replaceChildren(group("tr", [make("th", "case", { scope: "col" }), ...heads]));
  const entries = sideBySide(runs).map((entry) => ({ ...entry, differs: new Set(entry.results.map(conduct)).size > 1 }));
  const hasFailures = entries.some(({ results }) => results.some((result) => result && !isFine(result.verdict)));
  const accepts = ({ id, results }) => {
    const words = { family: id.split("/")[0], text: id };
    return results.some((result) => list.accepts({ ...words, verdict: result?.verdict ?? NOT_RUN }, hasFailures));
  };
  const shown = entries.filter((entry) => accepts(entry) && (entry.differs || !onlyDifferent));
  table.tBodies[0].replaceChildren(
    ...shown.map(({ id, results, differs }) => {
      const cells = results.map((result, place) => cellOf(result, () => open(runs[place], id)));
      return group("tr", [make("th", id, { scope: "row" }), ...cells], differs ? { class: "differs" } : {});
    }),
  );
  const different = entries.filter(({ differs }) => differs).length;
  const names = runs.length === 2 ? "the two builds" : `${runs.length} builds`;
  element("matrix-count").textContent =
    `${names} behave differently in ${different} of ${count(entries.length, "case")}; ${shown.length} shown`;
}

function cellOf(result, open) {
  if (!result) return make("td", `${mark(NOT_RUN)} ${NOT_RUN}`, { class: "quiet" });
  const { verdict, first_difference: first } = result;
  const where = first && !isFine(verdict) ? ["step", String(first.step)] : ["", ""];
  const words = make("span", [label(verdict), where[0]].join(" "), { class: "word" });
  const said = [label(verdict), ...where].join(" ").trim();
  const attributes = { type: "button", class: verdict, title: meaning(verdict), "aria-label": said };
  const button = group("button", [`${mark(verdict)} `, words, ` ${where[1]}`], attributes);
  button.onclick = open;
  return group("td", [button]);
}
