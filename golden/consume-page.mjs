// @ts-check
// The page consume.html: what a person sees and does. All that judges a build is in consumer/.

import { WORKER } from "./consumer/build.mjs";
import {
  ConsumeError,
  FINE,
  MEANINGS,
  absentLine,
  caseLines,
  consume,
  familyTable,
  lastLine,
  lostLine,
  reportDocument,
} from "./consume.mjs";

const ALL = "all";
const NOT_FINE = "not fine";
/** @type {(id: string) => any} */
const element = (id) => document.getElementById(id);
const page = Object.fromEntries(
  [
    "drop",
    "file",
    "filter",
    "seconds",
    "run",
    "stop",
    "save",
    "progress",
    "bar",
    "current",
    "outcome",
    "results",
    "facts",
  ]
    .concat(["families", "lost", "absent", "by-family", "by-verdict", "by-text", "count", "cases"])
    .map((id) => [id, element(id)]),
);

const files = new Map(); // path -> promise of its bytes
let chosen = null; // { name, bytes } of the build
let running = null; // { build, isStopped, done } of the run that goes on
let report = null;

/** Make an element with text and attributes; nothing from a build is ever taken for HTML. */
function make(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// The run -------------------------------------------------------------------------------------------------------------

/** Read a golden file, once for as long as the page is open: a second build is judged by the same goldens. */
function read(path) {
  if (!files.has(path)) {
    const reading = download(path);
    reading.catch(() => files.delete(path));
    files.set(path, reading);
  }
  return files.get(path);
}

async function download(path) {
  const response = await fetch(new URL(path, import.meta.url), { cache: "no-cache" });
  if (!response.ok) throw new ConsumeError(`${path}: the server answers ${response.status}`, 3);
  return new Uint8Array(await response.arrayBuffer());
}

function startWorker(onMessage, onEnd) {
  const worker = new Worker(WORKER, { type: "module" });
  worker.onmessage = ({ data }) => onMessage(data);
  worker.onerror = (event) => onEnd(event.message ?? "it did not start");
  return { post: (message) => worker.postMessage(message), end: () => worker.terminate() };
}

async function run() {
  await stop();
  const filters = page.filter.value.split(/\s+/).filter(Boolean);
  const seconds = page.seconds.valueAsNumber;
  if (!(seconds > 0)) return say("Seconds per call: a number above 0 is needed", "wrong");
  const { promise: done, resolve } = withResolvers();
  const mine = { build: null, isStopped: false, done };
  running = mine;
  begin();
  try {
    report = await consume({
      ...{ ...chosen, read, startWorker, filters, seconds },
      build: (build) => (mine.build = build),
      isStopped: () => mine.isStopped,
      onStart: (_, ids) => ((page.bar.max = ids.length), (page.bar.value = 0)),
      onCase: (result, soFar) => {
        report = soFar;
        page.bar.value += 1;
        page.current.textContent = `${page.bar.value} of ${page.bar.max}   ${result.id}   ${result.verdict}`;
        page.cases.append(caseRow(result));
      },
    });
    finish(mine.isStopped ? `stopped after ${report.cases.length} of ${page.bar.max} cases; ` : "");
  } catch (error) {
    say(error instanceof ConsumeError ? error.message : `a bug in this page: ${error.stack}`, "wrong");
  } finally {
    running = null;
    page.run.disabled = false;
    page.stop.disabled = true;
    page.progress.hidden = true;
    resolve();
  }
}

/** @returns {{ promise: Promise<void>, resolve: () => void }} */
function withResolvers() {
  let resolve;
  const promise = new Promise((settle) => (resolve = settle));
  return { promise, resolve };
}

/** End the run that goes on, if any; what ran stays shown. */
async function stop() {
  const was = running;
  if (!was) return;
  was.isStopped = true;
  was.build?.end("stopped by hand");
  await was.done;
}

function begin() {
  report = null;
  page.cases.replaceChildren();
  page.bar.removeAttribute("value");
  page.current.textContent = "compiling the build and reading the goldens";
  page.progress.hidden = false;
  page.results.hidden = true;
  page.run.disabled = page.save.disabled = true;
  page.stop.disabled = false;
  say(`running ${chosen.name}`);
}

function say(text, kind = "") {
  page.outcome.textContent = text;
  page.outcome.className = kind;
}

// The results ---------------------------------------------------------------------------------------------------------

function finish(prefix) {
  const { build, golden, problems, exit_code: code } = report;
  const facts = [
    ...[
      ["build", `${build.name}   sha256 ${build.sha256}`],
      ["contract", `${golden.contract}, profile ${golden.profile}`],
    ],
    ["goldens", `format ${golden.format}, root ${golden.root}`],
  ];
  page.facts.replaceChildren(...facts.flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
  showFamilies();
  page.lost.textContent = lostLine(report);
  page.absent.textContent = absentLine(report);
  const [families, verdicts] = ["families", "summary"].map((key) => report[key]);
  choices(page["by-family"], [ALL, ...families.map(({ name }) => name)]);
  choices(page["by-verdict"], [ALL, NOT_FINE, ...Object.keys(MEANINGS).filter((name) => verdicts.verdicts[name])]);
  page["by-text"].value = "";
  page["by-verdict"].value = report.cases.some(({ verdict }) => !FINE.includes(verdict)) ? NOT_FINE : ALL;
  filterCases();
  if (problems.length) {
    page.cases.replaceChildren(
      ...problems.map(({ name, expected, found }) => make("li", `${name}: expected ${expected}, found ${found}`)),
    );
    page.count.textContent = "";
  }
  page.results.hidden = false;
  page.save.disabled = false;
  const outcome = problems.length
    ? "NOT FINE: the module does not have the surface of the contract, so nothing was run"
    : lastLine(report);
  say(prefix + outcome, code === 0 ? "fine" : "wrong");
}

function showFamilies() {
  const [heads, ...rows] = familyTable(report);
  const cell = (text, column, family) => {
    if (column === 0) return make("th", text, { scope: "row" });
    if (column < 4 || text === "0") return make("td", text);
    const verdict = heads[column];
    const button = make("button", text, { type: "button", "aria-label": `show ${text} ${verdict} of ${family}` });
    button.onclick = () => {
      page["by-family"].value = family;
      page["by-verdict"].value = verdict;
      page["by-text"].value = "";
      filterCases();
      page["by-verdict"].focus();
    };
    const data = make("td");
    data.append(button);
    return data;
  };
  const line = (cells) => {
    const row = make("tr");
    row.append(...cells.map((text, column) => cell(text, column, cells[0])));
    return row;
  };
  const head = make("tr");
  head.append(...heads.map((name) => make("th", name, { scope: "col", title: MEANINGS[name] ?? "" })));
  page.families.tHead.replaceChildren(head);
  page.families.tBodies[0].replaceChildren(...rows.slice(0, -1).map(line));
  page.families.tFoot.replaceChildren(line(rows.at(-1)));
}

function choices(select, names) {
  select.replaceChildren(...names.map((name) => make("option", name, { value: name })));
}

function caseRow(result) {
  const first = result.first_difference;
  const lines = caseLines(result);
  const row = make("li");
  const details = make("details");
  const summary = make("summary");
  const difference = first
    ? `step ${first.step} ${first.call}: ${first.fields.map(({ field }) => field).join(", ")}`
    : result.reason;
  summary.append(
    make("span", result.verdict, { class: `mono verdict ${result.verdict}` }),
    make("span", result.id, { class: "mono id" }),
    make("span", difference.split("\n")[0], { class: "first" }),
    make("span", `${(result.seconds * 1000).toFixed(0)} ms`, { class: "mono time" }),
  );
  const more = [
    `  compared            ${result.steps} steps, ${result.fields} fields`,
    `  rules               ${result.rules.join(", ")}`,
  ];
  details.append(summary, make("pre", [...lines.slice(1), ...more].map((line) => line.slice(2)).join("\n")));
  row.append(details);
  Object.assign(row.dataset, {
    family: result.id.split("/")[0],
    verdict: result.verdict,
    text: lines.join("\n").toLowerCase(),
  });
  return row;
}

function filterCases() {
  const [family, verdict, text] = ["by-family", "by-verdict", "by-text"].map((id) => page[id].value);
  const wanted = text.trim().toLowerCase();
  let count = 0;
  for (const row of page.cases.children) {
    const { dataset } = row;
    const fits =
      (family === ALL || dataset.family === family) &&
      (verdict === ALL || dataset.verdict === verdict || (verdict === NOT_FINE && !FINE.includes(dataset.verdict))) &&
      dataset.text.includes(wanted);
    row.hidden = !fits;
    count += fits;
  }
  page.count.textContent = `${count} of ${page.cases.children.length} shown`;
}

function save() {
  const text = JSON.stringify(reportDocument(report), null, 1);
  const link = make("a", "", { download: `goldens-${report.build.sha256.slice(0, 12)}.json` });
  link.href = URL.createObjectURL(new Blob([`${text}\n`], { type: "application/json" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// What a person does --------------------------------------------------------------------------------------------------

async function choose(file) {
  chosen = { name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) };
  await run();
}

async function chooseByAddress(address) {
  try {
    const response = await fetch(new URL(address, location.href));
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    chosen = { name: address.split("/").at(-1), bytes: new Uint8Array(await response.arrayBuffer()) };
  } catch (error) {
    return say(`${address}: ${error.message}`, "wrong");
  }
  await run();
}

page.file.onclick = () => {
  page.file.value = ""; // so that picking the same file again, built anew, is a change too
};
page.file.onchange = () => {
  if (page.file.files.length) choose(page.file.files[0]);
};
page.run.onclick = run;
page.stop.onclick = stop;
page.save.onclick = save;
page.filter.onkeydown = (event) => {
  if (event.key === "Enter" && chosen) run();
};
for (const id of ["by-family", "by-verdict", "by-text"]) page[id].oninput = filterCases;

document.ondragover = (event) => {
  event.preventDefault();
  page.drop.classList.add("over");
};
document.ondragleave = (event) => {
  if (!event.relatedTarget) page.drop.classList.remove("over");
};
document.ondrop = (event) => {
  event.preventDefault();
  page.drop.classList.remove("over");
  if (event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
};

element("needs-server").hidden = true;
element("page").hidden = false;
const query = new URLSearchParams(location.search);
page.filter.value = query.getAll("filter").join(" ");
if (query.has("timeout")) page.seconds.value = query.get("timeout");
if (query.has("build")) chooseByAddress(query.get("build"));
