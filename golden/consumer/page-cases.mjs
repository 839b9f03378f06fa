// @ts-check
// The list of cases: rows, filters that hold before, during and after a run, and an address for each case.

import { NOT_RUN, VERDICTS, element, group, isFine, label, make, mark } from "./page-parts.mjs";
import { ConsumeError } from "./values.mjs";
import { caseLines, describeStep } from "./words.mjs";

const ALL = "all";
const NOT_FINE = "not fine";
const AUTO = "not fine, if any";

/** The list of cases below `#cases`. */
export class CaseList {
  /** `session(id)` gives a case.json, `address(id)` the address under which this page opens at a case. */
  constructor(session, address) {
    this.session = session;
    this.address = address;
    this.list = element("cases");
    this.rows = new Map(); // id -> row
    this.filters = ["by-family", "by-verdict", "by-text"].map(element);
    for (const filter of this.filters) filter.oninput = () => this.filter();
    choices(this.filters[1], [AUTO, NOT_FINE, ALL, ...VERDICTS, NOT_RUN]);
  }

  /** Offer the families of the goldens. */
  offer(families) {
    const [family] = this.filters;
    const was = family.value;
    choices(family, [ALL, ...families]);
    if (families.includes(was)) family.value = was;
  }

  /** Show cases that no build has answered yet: `[id, rules]` each. */
  showNotRun(cases) {
    this.fill(cases.map(([id, rules]) => ({ id, rules, verdict: NOT_RUN })));
  }

  /** Show results instead of what is there. */
  fill(results) {
    this.rows.clear();
    this.list.replaceChildren(...results.map((result) => this.row(result)));
    this.filter();
  }

  /** Show the result of one more case, at the end or in the place of its row. */
  put(result) {
    const old = this.rows.get(result.id);
    const row = this.row(result);
    if (old) old.replaceWith(row);
    else this.list.append(row);
    row.hidden = !this.fits(row);
  }

  /** Show the cases of one family with one verdict. */
  choose(family, verdict) {
    const [byFamily, byVerdict, byText] = this.filters;
    byFamily.value = family;
    byVerdict.value = verdict;
    byText.value = "";
    this.filter();
    byVerdict.focus();
  }

  /** Show the rows that fit the filters, and how many they are. */
  filter() {
    const rows = [...this.rows.values()];
    this.hasFailures = rows.some((row) => isFailure(row.dataset.verdict));
    for (const row of rows) row.hidden = !this.fits(row);
    const shown = rows.filter((row) => !row.hidden).length;
    element("count").textContent = rows.length ? `${shown} of ${rows.length} shown` : "";
  }

  /** Say whether a result fits the filters; rows and the table of several builds ask alike. */
  accepts({ family, verdict, text }, hasFailures = this.hasFailures) {
    const [byFamily, byVerdict, byText] = this.filters.map(({ value }) => value);
    const asked = byVerdict === AUTO ? (hasFailures ? NOT_FINE : ALL) : byVerdict;
    return (
      (byFamily === ALL || family === byFamily) &&
      (asked === ALL || verdict === asked || (asked === NOT_FINE && isFailure(verdict))) &&
      text.includes(byText.trim().toLowerCase())
    );
  }

  fits({ dataset: { family, verdict, text } }) {
    return this.accepts({ family, verdict, text });
  }

  /** Return the rows that somebody has to look at, of those that are shown. */
  failures() {
    return [...this.rows.values()].filter((row) => !row.hidden && isFailure(row.dataset.verdict));
  }

  /** Open the case before or behind the one that is open, among the failures. */
  step(direction) {
    const rows = this.failures();
    const at = rows.findIndex((row) => row === this.opened);
    const next = at < 0 ? (direction > 0 ? 0 : rows.length - 1) : at + direction;
    if (rows[next]) this.open(rows[next].dataset.id);
  }

  /** Open a case and scroll to it; false when it is not in the list. */
  open(id) {
    const row = this.rows.get(id);
    if (!row) return false;
    if (row.hidden) {
      const [family, verdict, text] = this.filters;
      [family.value, verdict.value, text.value] = [ALL, ALL, ""];
      this.filter();
    }
    if (this.opened && this.opened !== row) this.opened.firstElementChild.open = false;
    row.firstElementChild.open = true;
    scrollTo(row);
    return true;
  }

  /** Open the first failure, if there is one. */
  openFirst() {
    const [row] = this.failures();
    return row ? this.open(row.dataset.id) : false;
  }

  row(result) {
    const { id, verdict } = result;
    const first = result.first_difference;
    const difference = first
      ? `step ${first.step} ${first.call}: ${first.fields.map(({ field }) => field).join(", ")}`
      : (result.reason ?? "");
    const ran = result.seconds !== undefined;
    const summary = group("summary", [
      make("span", `${mark(verdict)} ${label(verdict)}`, { class: `mono verdict ${verdict}` }),
      make("span", id, { class: "mono id" }),
      make("span", difference.split("\n")[0], { class: "first" }),
      make("span", ran ? `${(result.seconds * 1000).toFixed(0)} ms` : "", { class: "mono time" }),
    ]);
    const lines = ran ? caseLines(result) : [`${id} ${result.rules.join(", ")}`];
    const more = [
      ...(ran ? [`  compared            ${result.steps} steps, ${result.fields} fields`] : []),
      `  rules               ${result.rules.join(", ")}`,
    ];
    const told = [...lines.slice(1), ...more].map((line) => line.slice(2));
    const about = make("p", "", { class: "about quiet" });
    const details = group("details", [summary, about, group("pre", told.map(lineOf)), this.links(id)]);
    details.ontoggle = () => {
      if (!details.open) return;
      this.opened = row;
      history.replaceState(null, "", `#${id}`);
      this.tell(id, about, details);
    };
    const row = group("li", [details]);
    Object.assign(row.dataset, { id, family: id.split("/")[0], verdict, text: lines.join("\n").toLowerCase() });
    this.rows.set(id, row);
    return row;
  }

  links(id) {
    const copy = make("button", "Copy link", { type: "button" });
    copy.onclick = async () => {
      const address = this.address(id);
      try {
        await navigator.clipboard.writeText(address);
        copy.textContent = "Copied";
      } catch {
        copy.replaceWith(make("code", address)); // no clipboard here: the address to be copied by hand
      }
      setTimeout(() => (copy.textContent = "Copy link"), 1500);
    };
    const file = (name) => make("a", name, { href: `cases/${id}/${name}`, target: "_blank", rel: "noopener" });
    return group("p", [copy, file("case.json"), file("expect.json")], { class: "links" });
  }

  /** Say what a case is for, and its steps, once it is opened. */
  async tell(id, about, details) {
    if (about.textContent) return;
    try {
      const { about: words, steps } = await this.session(id);
      about.textContent = words;
      const told = steps.map((step, place) => `${String(place).padStart(3)}  ${describeStep(step)}`).join("\n");
      const all = group("details", [make("summary", `All ${steps.length} steps`), make("pre", told)], { class: "steps" });
      details.insertBefore(all, details.lastElementChild);
    } catch (error) {
      about.textContent = error instanceof ConsumeError ? error.message : `case.json cannot be shown: ${error.message}`;
    }
  }
}

/** Scroll to an element, below the line that stays on top. */
export function scrollTo(target) {
  target.style.scrollMarginTop = `${element("said").offsetHeight + 8}px`;
  target.scrollIntoView({ block: "start" });
}

/** Return a line of a report; what stands between its columns may shrink on a narrow screen. */
function lineOf(line) {
  const [, head, gap, rest] = line.match(/^(\s*\S+(?: \S+)*)(\s{2,})(\S.*)$/) ?? [null, line, "", ""];
  return group("span", [head, make("span", gap, { class: "gap" }), rest]);
}

const isFailure = (verdict) => verdict !== NOT_RUN && !isFine(verdict);

function choices(select, names) {
  select.replaceChildren(...names.map((name) => make("option", label(name), { value: name })));
}
