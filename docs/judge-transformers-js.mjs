// Let `refruntime judge` ask transformers.js, which runs ONNX:
//
//   npm install @huggingface/transformers
//   refruntime judge model.gguf --node 'node docs/judge-transformers-js.mjs FOLDER'
//
// FOLDER holds config.json, tokenizer.json and onnx/model.onnx of the same weights. It reads no GGUF: of such a file,
// given in place of FOLDER, `onnx-folder.py` beside this script makes a folder first. Options behind it go to the loader:
// '{"dtype": "fp16"}'. One JSON document a line comes in, one goes out; an engine that cannot answer says {"error": "why"}.
import {execFileSync} from "node:child_process";
import {mkdtempSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {basename, dirname, join, resolve} from "node:path";
import {createInterface} from "node:readline";
import {AutoModelForCausalLM, AutoTokenizer, Tensor, env} from "@huggingface/transformers";

const [given, options = "{}"] = process.argv.slice(2);
const folder = given.endsWith(".gguf") ? mkdtempSync(join(tmpdir(), "onnx-")) : given;
if (folder !== given) {
    process.on("exit", () => rmSync(folder, {recursive: true}));
    const script = join(import.meta.dirname, "onnx-folder.py");
    execFileSync("python", [script, given, folder], {stdio: ["ignore", process.stderr, process.stderr]});
}
env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(folder));
const model = await AutoModelForCausalLM.from_pretrained(basename(resolve(folder)), {dtype: "fp32", device: "cpu", ...JSON.parse(options)});
const tokenizer = await AutoTokenizer.from_pretrained(basename(resolve(folder)));

// Logits [T, V] behind all ids.
async function logits(ids) {
    const tensor = (numbers) => new Tensor("int64", BigInt64Array.from(numbers, BigInt), [1, ids.length]);
    const output = await model({input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1))});
    const [, count, vocabulary] = output.logits.dims;
    const numbers = Array.from(output.logits.data);
    return Array.from({length: count}, (_, at) => numbers.slice(at * vocabulary, (at + 1) * vocabulary));
}

async function greedy(ids, count) {
    const tokens = [];
    while (tokens.length < count) {
        const row = (await logits([...ids, ...tokens])).at(-1);
        tokens.push(row.reduce((best, value, id) => (value > row[best] ? id : best), 0));
    }
    return tokens;
}

const answers = {
    about: () => ({name: `transformers.js ${env.version}`, kind: "logits"}),
    tokenize: ({text}) => ({tokens: Array.from(tokenizer.encode(text))}),
    async rows({ids, positions}) {
        const rows = await logits(ids);
        return {rows: positions.map((at) => rows[at])};
    },
    greedy: async ({ids, count}) => ({tokens: await greedy(ids, count)})
};

for await (const line of createInterface({input: process.stdin})) {
    const question = JSON.parse(line);
    const answer = await (async () => answers[question.call](question))().catch((error) => ({error: String(error)}));
    process.stdout.write(JSON.stringify(answer) + "\n");
}
