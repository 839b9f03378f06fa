// @ts-check
// The command line of Node.

import { WORKER } from "./build.mjs";
import { reportDocument, reportLines } from "./report.mjs";
import { DEFAULT_SECONDS, consume } from "./run.mjs";
import { ConsumeError } from "./values.mjs";
import { verdictLabel } from "./words.mjs";

const MOST_FILE_BYTES = 1 << 27; // no artifact above this can be loaded (MEM-2)

const HELP = `Run the goldens on a WebAssembly build of the runtime.

  node consume.mjs BUILD.wasm [options]

  --filter TEXT      only cases that fit: an id, a family, a rule id, or a shell pattern of ids; may be repeated
  --golden DIR       folder of the goldens; by default the one of this file
  --timeout SECONDS  what one call of the build may take; by default ${DEFAULT_SECONDS}
  --json             print the report as JSON
  --help             print this

  node consume.mjs build.wasm --filter sampling --filter 'generate/probe-*' --filter SA-5

Exit codes: 0 fine, 1 a difference or nothing compared, 2 wrong usage or no module, 3 a file is missing, 4 a bug here.
`;

function parseArguments(given) {
  const options = { build: "", filters: [], golden: "", seconds: DEFAULT_SECONDS, json: false, help: false };
  const rest = given.flatMap((text) =>
    /^--[a-z]+=/.test(text) ? [text.slice(0, text.indexOf("=")), text.slice(text.indexOf("=") + 1)] : [text],
  );
  const valueOf = (option) => {
    if (rest.length === 0) throw new ConsumeError(`${option} needs a value`, 2);
    return rest.shift();
  };
  while (rest.length) {
    const text = rest.shift();
    if (text === "--help" || text === "-h") options.help = true;
    else if (text === "--json") options.json = true;
    else if (text === "--filter") options.filters.push(valueOf(text));
    else if (text === "--golden") options.golden = valueOf(text);
    else if (text === "--timeout") options.seconds = Number(valueOf(text));
    else if (text.startsWith("-")) throw new ConsumeError(`no option ${text}; --help lists them`, 2);
    else if (options.build) throw new ConsumeError(`one build at a time: ${options.build}, ${text}`, 2);
    else options.build = text;
  }
  if (!(options.seconds > 0 && options.seconds <= 86400)) throw new ConsumeError("--timeout needs seconds above 0", 2);
  if (!options.build && !options.help)
    throw new ConsumeError("name a build: node consume.mjs build.wasm; --help says more", 2);
  return options;
}

async function main(given) {
  const [{ readFile, stat }, path, { fileURLToPath }, { Worker }] = await Promise.all(
    ["node:fs/promises", "node:path", "node:url", "node:worker_threads"].map((name) => import(name)),
  );
  const options = parseArguments(given);
  if (options.help) return (console.log(HELP), 0);
  const readBytes = async (file) => {
    try {
      const found = await stat(file); // a device or a pipe might never end
      if (found.isFile() && found.size <= MOST_FILE_BYTES) return new Uint8Array(await readFile(file));
    } catch (error) {
      throw new ConsumeError(`${file}: ${error.code === "ENOENT" ? "no such file" : error.message}`, 3);
    }
    throw new ConsumeError(`${file}: not a file of at most ${MOST_FILE_BYTES} bytes`, 3);
  };
  const folder = options.golden || fileURLToPath(new URL("..", import.meta.url));
  const startWorker = (onMessage, onEnd) => {
    const worker = new Worker(WORKER, { resourceLimits: { maxOldGenerationSizeMb: 2048 } });
    worker.on("message", onMessage);
    worker.on("error", (error) => onEnd(error.message));
    worker.on("exit", (code) => onEnd(`exit code ${code}`));
    return { post: (message) => worker.postMessage(message), end: () => worker.terminate() };
  };
  const isTerminal = process.stderr.isTTY;
  const onCase = (result, { cases }) => {
    if (isTerminal) process.stderr.write(`\r\x1b[K${cases.length}  ${result.id}  ${verdictLabel(result.verdict)}`);
  };
  const report = await consume({
    read: (file) => readBytes(path.join(folder, ...file.split("/"))),
    ...{ startWorker, onCase, bytes: await readBytes(options.build), name: path.basename(options.build) },
    ...{ filters: options.filters, seconds: options.seconds },
  });
  if (isTerminal) process.stderr.write("\r\x1b[K");
  const text = options.json ? JSON.stringify(reportDocument(report), null, 1) : reportLines(report).join("\n");
  process.stdout.write(`${text}\n`);
  return report.exit_code;
}

/** Run the command line when `entry` is the file that Node was started with. */
export async function runFromCommandLine(entry) {
  const [{ realpathSync }, { pathToFileURL }, { setFlagsFromString }] = await Promise.all(
    ["node:fs", "node:url", "node:v8"].map((name) => import(name)),
  );
  if (entry.href !== pathToFileURL(realpathSync(process.argv[1])).href) return;
  setFlagsFromString("--wasm-max-mem-pages=32768"); // 2 GiB; growth beyond it fails, as it may on any machine
  setFlagsFromString("--no-wasm-dynamic-tiering"); // with it, no thread can end a loop that grows its memory
  process.stdout.on("error", (error) => process.exit(error.code === "EPIPE" ? 1 : 4)); // a pager that was closed
  process.exitCode = await main(process.argv.slice(2)).catch((error) => {
    process.stderr.write(
      error instanceof ConsumeError ? `${error.message}\n` : `a bug in this consumer: ${error.stack}\n`,
    );
    return error.exitCode ?? 4;
  });
}
