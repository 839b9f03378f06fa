// Let `refruntime judge` ask wllama, llama.cpp in a browser's WebAssembly:
//
//   npm install @wllama/wllama
//   refruntime judge model.gguf --node 'node docs/judge-wllama.mjs model.gguf'
//
// A page in a headless Chromium (CHROMIUM says which) fetches the questions from here and posts its answers. Options
// behind the model go to its loader: '{"flash_attn": false, "cache_type_k": "f32", "cache_type_v": "f32"}'.
import {spawn} from "node:child_process";
import {readFileSync, mkdtempSync, rmSync} from "node:fs";
import {createServer} from "node:http";
import {tmpdir} from "node:os";
import {createInterface} from "node:readline";
import {fileURLToPath} from "node:url";

const [path, options = "{}"] = process.argv.slice(2);
const library = new URL(".", import.meta.resolve("@wllama/wllama"));
const page = `<script type="module">
import {Wllama} from "/index.js";
const engine = new Wllama({default: "/wasm/wllama.wasm"}, {suppressNativeLog: true});
const complete = (prompt, more) => engine.createCompletion({prompt, max_tokens: 1, temperature: 0, cache_prompt: false, ...more});
const spelt = new Map();  // id -> its text
let vocabulary, most;
async function load() {
    const model = await (await fetch("/model.gguf")).blob();
    await engine.loadModel([model], {n_ctx: 512, n_threads: 1, n_gpu_layers: 0, n_parallel: 1, warmup: false, ...${options}});
    most = vocabulary = engine.getModelMetadata().hparams.nVocab;
}
// It takes texts alone, so ids are spelt: each is what is written where nothing else may be.
async function text(ids) {
    for (const id of ids) if (!spelt.has(id)) spelt.set(id, (await complete("a", {logit_bias: [[id, 1e6]]})).choices[0].text);
    return ids.map((id) => spelt.get(id)).join("");
}
// Nothing is told where it counts other tokens. It cannot write parts of characters: as many of the best as go are asked for.
async function row(ids) {
    const row = new Array(vocabulary).fill(null);
    const written = ids.slice(engine.mustAddBosToken() && ids[0] === engine.getBOS() ? 1 : 0);
    const prompt = await text(written);
    for (; prompt && most; most >>= 1) {
        const answer = await complete(prompt, {logprobs: most}).catch(() => null);
        if (answer?.usage.prompt_tokens !== ids.length && answer) return row;
        for (const {id, logprob} of answer?.choices[0].logprobs.content[0].top_logprobs ?? []) row[id] = logprob ?? -1e30;
        if (answer) return row;
    }
    return row;
}
const best = (row) => row.reduce((best, value, id) => (value !== null && value > (row[best] ?? -Infinity) ? id : best), 0);
const answers = {
    about: () => ({name: "wllama, llama.cpp " + Wllama.getLibllamaVersion(), kind: "log probabilities"}),
    tokenize: () => ({error: "it shows no ids of a text"}),
    async rows({ids, positions}) {
        const rows = [];
        for (const at of positions) rows.push(await row(ids.slice(0, at + 1)));
        return {rows};
    },
    async greedy({ids, count}) {
        const tokens = [];
        while (tokens.length < count) tokens.push(best(await row([...ids, ...tokens])));
        return {tokens};
    }
};
const loaded = load();
for (let answer = null; ; ) {
    const question = await (await fetch("/next", {method: "POST", body: JSON.stringify(answer)})).json();
    answer = await loaded.then(() => answers[question.call](question)).catch((error) => ({error: String(error)}));
}
</script>`;

const lines = createInterface({input: process.stdin})[Symbol.asyncIterator]();
const server = createServer(async (request, response) => {
    response.setHeader("Cross-Origin-Opener-Policy", "same-origin");  // threads share memory in such pages alone
    response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    if (request.url === "/next") {
        const answer = Buffer.concat(await request.toArray()).toString();
        if (answer !== "null") process.stdout.write(answer + "\n");
        const {value, done} = await lines.next();
        return done ? stop() : response.end(value);
    }
    const types = {js: "text/javascript", wasm: "application/wasm"};
    response.setHeader("Content-Type", types[request.url.split(".").pop()] ?? "text/html");
    try {
        response.end(request.url === "/" ? page : readFileSync(request.url === "/model.gguf" ? path : new URL("." + request.url, library)));
    } catch {
        response.writeHead(404).end();
    }
});
server.listen(0, "127.0.0.1", () => {
    const address = `http://127.0.0.1:${server.address().port}/`;
    browser = spawn(process.env.CHROMIUM ?? "chromium", ["--headless", "--no-sandbox", "--disable-gpu", `--user-data-dir=${profile}`, address], {stdio: "ignore"});
    browser.on("error", (error) => { console.error(String(error)); stop(); });
});
const profile = mkdtempSync(`${tmpdir()}/judge-wllama-`);
let browser;
function stop() {
    const end = () => (rmSync(profile, {recursive: true, force: true, maxRetries: 9, retryDelay: 100}), process.exit());
    if (browser?.kill()) browser.on("exit", end);
    else end();
}
