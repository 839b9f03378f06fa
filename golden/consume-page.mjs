// @ts-check
// The page consume.html: what a person does. What is seen is made in consumer/page-*.mjs, and judged in consumer/.

import { WORKER } from "./consumer/build.mjs";
import { Golden } from "./consumer/corpus.mjs";
import { CaseList, scrollTo } from "./consumer/page-cases.mjs";
import { count, element, label, make } from "./consumer/page-parts.mjs";
import { Runs, showSideBySide } from "./consumer/page-runs.mjs";
import { showSummary, showWholeLegend } from "./consumer/page-summary.mjs";
import { ConsumeError, consume, lastLine, reportDocument } from "./consume.mjs";

const page = Object.fromEntries(
  ["drop", "file", "filter", "fits", "seconds", "run", "stop", "save", "progress", "bar", "current", "outcome"]
    .concat(["previous", "next", "results", "facts", "matrix", "only-different", "list"])
    .map((id) => [id, element(id)]),
);

const files = new Map(); // path -> promise of its bytes
let golden = null; // the goldens, once INDEX.json is read
let chosen = []; // builds: { name, bytes, address } each
let running = null; // { build, isStopped, done } of the runs that go on
let shown = null; // the run that is shown
let compared = []; // the runs that are shown side by side

const runs = new Runs(showRun, showCompared);
const list = new CaseList(async (id) => JSON.parse(new TextDecoder().decode(await read(`cases/${id}/case.json`))), addressOf);

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

const filtersNow = () => page.filter.value.split(/\s+/).filter(Boolean);

/** Run the chosen builds, one after the other; several are put side by side. */
async function run() {
  await stop();
  const filters = filtersNow();
  const seconds = page.seconds.valueAsNumber;
  if (!(seconds > 0)) return say("Seconds per call: a number above 0 is needed", "wrong");
  const { promise: done, resolve } = withResolvers();
  const mine = { build: null, isStopped: false, done };
  running = mine;
  page.run.disabled = page.save.disabled = true;
  page.stop.disabled = false;
  const finished = [];
  try {
    for (const build of chosen) {
      if (mine.isStopped) break;
      const each = await runOne(build, filters, seconds, mine);
      if (each) finished.push(each);
    }
  } finally {
    running = null;
    page.run.disabled = false;
    page.stop.disabled = true;
    page.progress.hidden = true;
    resolve();
  }
  if (finished.length > 1) runs.choose(finished);
  else if (finished.length === 1) openAfterRun();
}

async function runOne(build, filters, seconds, mine) {
  begin(build, filters);
  const finished = { name: build.name, address: build.address, filters, prefix: "", report: null };
  try {
    finished.report = await consume({
      ...{ name: build.name, bytes: build.bytes, read, startWorker, filters, seconds },
      build: (worker) => (mine.build = worker),
      isStopped: () => mine.isStopped,
      onStart: (_, ids) => ((page.bar.max = ids.length), (page.bar.value = 0)),
      onCase: (result) => {
        page.bar.value += 1;
        page.current.textContent = `${page.bar.value} of ${page.bar.max}   ${result.id}   ${label(result.verdict)}`;
        list.put(result);
      },
    });
    const { cases } = finished.report;
    finished.prefix = mine.isStopped ? `stopped after ${cases.length} of ${page.bar.max} cases; ` : "";
  } catch (error) {
    const failed = error instanceof ConsumeError ? error.message : `a bug in this page: ${error.stack}`;
    say(failed, "wrong");
    if (chosen.length === 1) return null;
    Object.assign(finished, { failed, report: { cases: [], exit_code: error.exitCode ?? 4 } });
  }
  runs.add(finished);
  showRun(finished);
  return finished;
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

function begin(build, filters) {
  shown = null;
  page.bar.removeAttribute("value");
  page.current.textContent = "compiling the build and reading the goldens";
  page.progress.hidden = page.list.hidden = false;
  page.results.hidden = page.facts.hidden = page.matrix.hidden = true;
  showNotRun(filters);
  say(`running ${build.name}`);
}

function say(text, kind = "") {
  page.outcome.textContent = text;
  page.outcome.className = kind;
  for (const button of [page.previous, page.next]) button.hidden = kind !== "wrong" || list.failures().length === 0;
}

// What is shown -------------------------------------------------------------------------------------------------------

function showNotRun(filters) {
  if (!golden) return;
  const { cases } = golden.index;
  list.showNotRun(golden.select(filters).map((id) => [id, cases[id].rules]));
}

function showRun(run) {
  const { report, failed } = run;
  shown = run;
  page.matrix.hidden = true;
  page.list.hidden = false;
  page.save.disabled = !report.build;
  page.results.hidden = page.facts.hidden = !report.build;
  list.fill(report.cases);
  if (failed) return say(failed, "wrong");
  showSummary(report, (family, verdict) => list.choose(family === "all" ? "all" : family, verdict));
  const { problems, exit_code: code } = report;
  if (problems.length) {
    const lines = problems.map(({ name, expected, found }) => `${name}: expected ${expected}, found ${found}`);
    element("cases").replaceChildren(...lines.map((line) => make("li", line)));
  }
  const outcome = problems.length
    ? "NOT FINE: the module does not have the surface of the contract, so nothing was run"
    : lastLine(report);
  say(run.prefix + outcome, code === 0 ? "fine" : "wrong");
}

function showCompared(several) {
  compared = several;
  page.matrix.hidden = several.length < 2;
  page.list.hidden = page.results.hidden = page.facts.hidden = several.length >= 2;
  if (several.length < 2) return shown ? showRun(shown) : undefined;
  page.save.disabled = true;
  const wrong = several.filter(({ report }) => report.exit_code !== 0).length;
  say(`${count(several.length, "build")} side by side, ${wrong ? `${wrong} of them not fine` : "all fine"}`, wrong ? "wrong" : "fine");
  page.previous.hidden = page.next.hidden = true;
  drawCompared();
  scrollTo(page.matrix);
}

function drawCompared() {
  showSideBySide(compared, list, (run, id) => {
    showRun(run);
    list.open(id);
  });
}

/** Open the case of the address, or else the first one that somebody has to look at. */
function openAfterRun() {
  const wanted = caseOfAddress();
  if (wanted && golden?.index.cases[wanted]) {
    if (list.open(wanted)) return;
    page.current.textContent = "";
    say(`${page.outcome.textContent}; ${wanted}, which the address names, is not among them`, page.outcome.className);
  }
  list.openFirst();
}

/** Open the case of the address while nothing ran yet. */
function openBeforeRun() {
  const wanted = caseOfAddress();
  if (!wanted || !golden) return;
  say(golden.index.cases[wanted] ? `${wanted}: pick a build to run it on` : `these goldens have no case ${wanted}`);
  list.open(wanted);
}

const caseOfAddress = () => decodeURIComponent(location.hash.slice(1));

/** Return the address under which the page opens at a case. */
function addressOf(id) {
  const address = new URL(location.pathname, location.href);
  const from = shown ?? { filters: filtersNow(), address: null };
  if (from.address) address.searchParams.set("build", from.address);
  for (const filter of from.filters) address.searchParams.append("filter", filter);
  address.hash = id;
  return address.href;
}

function save() {
  const { report } = shown;
  const text = JSON.stringify(reportDocument(report), null, 1);
  const link = make("a", "", { download: `goldens-${report.build.sha256.slice(0, 12)}.json` });
  link.href = URL.createObjectURL(new Blob([`${text}\n`], { type: "application/json" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// What a person does --------------------------------------------------------------------------------------------------

async function choose(several) {
  const read = async (file) => ({ name: file.name, bytes: new Uint8Array(await file.arrayBuffer()), address: null });
  chosen = await Promise.all([...several].map(read));
  if (location.hash && shown) history.replaceState(null, "", location.pathname + location.search); // of the run before
  await run();
}

async function chooseByAddress(addresses) {
  const fetched = [];
  for (const address of addresses) {
    try {
      const response = await fetch(new URL(address, location.href));
      if (!response.ok) throw new Error(`the server answers ${response.status}`);
      fetched.push({ name: address.split("/").at(-1), bytes: new Uint8Array(await response.arrayBuffer()), address });
    } catch (error) {
      return say(`${address}: ${error.message}`, "wrong");
    }
  }
  chosen = fetched;
  await run();
}

/** Say how many cases the filter lets through, and show them as long as nothing ran. */
function previewFilter() {
  if (!golden) return;
  const all = Object.keys(golden.index.cases).length;
  const wanted = golden.select(filtersNow()).length;
  page.fits.textContent = `${wanted} of ${count(all, "case")} will run`;
  if (!shown && !running) showNotRun(filtersNow());
}

page.file.onclick = () => {
  page.file.value = ""; // so that picking the same file again, built anew, is a change too
};
page.file.onchange = () => {
  if (page.file.files.length) choose(page.file.files);
};
page.run.onclick = run;
page.stop.onclick = stop;
page.save.onclick = save;
page.previous.onclick = () => list.step(-1);
page.next.onclick = () => list.step(1);
page["only-different"].onchange = drawCompared;
page.filter.oninput = previewFilter;
page.filter.onkeydown = (event) => {
  if (event.key === "Enter" && chosen.length) run();
};
element("by").addEventListener("input", () => {
  if (!page.matrix.hidden) drawCompared();
});
addEventListener("hashchange", () => list.open(caseOfAddress()));

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
  if (event.dataTransfer.files.length) choose(event.dataTransfer.files);
};

element("needs-server").hidden = true;
element("page").hidden = false;
const query = new URLSearchParams(location.search);
page.filter.value = query.getAll("filter").join(" ");
if (query.has("timeout")) page.seconds.value = query.get("timeout");
showWholeLegend();
try {
  golden = await Golden.open(read);
  list.offer([...new Set(golden.select([]).map((id) => id.split("/")[0]))]);
  previewFilter();
} catch (error) {
  say(error instanceof ConsumeError ? error.message : `a bug in this page: ${error.stack}`, "wrong");
}
if (query.has("build")) chooseByAddress(query.getAll("build"));
else openBeforeRun();
