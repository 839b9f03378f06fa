// Let `refruntime judge` ask node-llama-cpp:
//
//   npm install node-llama-cpp
//   refruntime judge model.gguf --node 'node docs/judge-node-llama-cpp.mjs model.gguf'
//
// One JSON document a line comes in, one goes out; an engine that cannot answer says {"error": "why"}. Options behind
// the model go to the context as they are: '{"flashAttention": true}'.
import {createInterface} from "node:readline";
import {getLlama, getModuleVersion} from "node-llama-cpp";

const [path, options = "{}"] = process.argv.slice(2);
const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});
const model = await llama.loadModel({modelPath: path});
const context = await model.createContext({contextSize: 512, threads: 1, ...JSON.parse(options)});
const sequence = context.getSequence();

// Logarithms of the probabilities behind each asked position; a token that is not told stays null.
async function rows(ids, positions) {
    await sequence.clearHistory();
    const asked = new Set(positions);
    const input = ids.map((id, at) => (asked.has(at) ? [id, {generateNext: {probabilities: true}}] : id));
    const output = await sequence.controlledEvaluate(input);
    return positions.map((at) => {
        const row = new Array(model.fileInfo.metadata.tokenizer.ggml.tokens.length).fill(null);
        for (const [id, share] of output[at].next.probabilities) row[id] = share > 0 ? Math.log(share) : -1e30;
        return row;
    });
}

async function greedy(ids, count) {
    const tokens = [];
    while (tokens.length < count) {
        const [row] = await rows([...ids, ...tokens], [ids.length + tokens.length - 1]);
        tokens.push(row.reduce((best, value, id) => (value !== null && value > (row[best] ?? -Infinity) ? id : best), 0));
    }
    return tokens;
}

const answers = {
    about: async () => ({name: `node-llama-cpp ${await getModuleVersion()}`, kind: "log probabilities"}),
    tokenize: ({text}) => ({tokens: [...(model.tokens.shouldPrependBosToken ? [model.tokens.bos] : []), ...model.tokenize(text)]}),
    rows: async ({ids, positions}) => ({rows: await rows(ids, positions)}),
    greedy: async ({ids, count}) => ({tokens: await greedy(ids, count)})
};

for await (const line of createInterface({input: process.stdin})) {
    const question = JSON.parse(line);
    const answer = await Promise.resolve(answers[question.call](question)).catch((error) => ({error: String(error)}));
    process.stdout.write(JSON.stringify(answer) + "\n");
}
