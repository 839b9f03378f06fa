// Run the command line of golden/consume.mjs again and again in one process: a start of Node costs more than a run.
//
//   node command_server.mjs .../consume.mjs     one JSON list of arguments a line; the answer is {code, out, err}
//
// A build still runs in a thread of its own, which is new for every run.

import path from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const script = path.resolve(process.argv[2]);
process.argv[1] = `${script}.not-yet`; // what is imported is not to begin by itself
const { runFromCommandLine } = await import(new URL("consumer/cli.mjs", pathToFileURL(script)));

const answer = process.stdout.write.bind(process.stdout);
process.stdout.setMaxListeners(0); // every run listens for a pager that is closed

for await (const line of createInterface({ input: process.stdin })) {
  const said = { out: "", err: "" };
  process.stdout.write = (text) => Boolean((said.out += text));
  process.stderr.write = (text) => Boolean((said.err += text));
  process.argv = [process.argv[0], script, ...JSON.parse(line)];
  process.exitCode = undefined;
  await runFromCommandLine(pathToFileURL(script));
  answer(`${JSON.stringify({ code: process.exitCode, ...said })}\n`);
}
