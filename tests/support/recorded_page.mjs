// A page that uses a build as wasm-bindgen's glue does: it keeps the exports and a cached view of memory, and reads the
// result after every status. With `record` it wraps the instance first.
//
//   node recorded_page.mjs RECORD.mjs < job.json
//
// The job is {wasm, record, options, models: {name: base64}, sessions: [[step, ...], ...]}, all but integers as text.
// It prints one line of JSON for each session: {seen: what the page saw, recording: null or the document}.

import { readFileSync } from "node:fs";

const { record } = await import(process.argv[2]);
const job = JSON.parse(readFileSync(0, "utf-8"));
const models = new Map(Object.entries(job.models).map(([name, text]) => [name, Buffer.from(text, "base64")]));
const bytes = readFileSync(job.wasm);
const module = await WebAssembly.compile(bytes);

class Page {
  constructor(instance) {
    this.wasm = instance.exports;
    this.view = null;
    this.bound = new Map();
  }

  memory() {
    if (this.view === null || this.view.byteLength === 0) this.view = new Uint8Array(this.wasm.memory.buffer);
    return this.view;
  }

  transfer(data, call) {
    const pointer = data.length === 0 ? 1 : this.wasm.alloc(data.length);
    this.memory().set(data, data.length === 0 ? 0 : pointer);
    try {
      return this.afterStatus(call(pointer, data.length));
    } finally {
      if (data.length !== 0) this.wasm.dealloc(pointer, data.length);
    }
  }

  afterStatus(status) {
    if (!job.reads) return [status];
    const pointer = this.wasm.last_result_ptr() >>> 0;
    const length = this.wasm.last_result_len() >>> 0;
    return [status, Buffer.from(this.memory().slice(pointer, pointer + length)).toString("hex")];
  }

  place(text) {
    const [name, offset] = text.split("+");
    return this.bound.get(name) + Number(offset ?? 0);
  }

  run(step) {
    if (step.load !== undefined) return this.transfer(models.get(step.load), (p, n) => this.wasm.load_model(p, n));
    if (step.prompt !== undefined) {
      const count = Number(step.count);
      return this.transfer(Buffer.from(step.prompt, "hex"), (p, n) => this.wasm.generate(p, n, count));
    }
    if (step.write !== undefined) {
      this.memory().set(Buffer.from(step.bytes, "hex"), this.place(step.write) >>> 0);
      return ["written"];
    }
    const given = step.arguments.map(({ i, l, f, place }) => {
      if (place !== undefined) return this.place(place);
      if (l !== undefined) return BigInt(l);
      return i !== undefined ? Number(i) : { nan: NaN, inf: Infinity, "-inf": -Infinity }[f] ?? Number(f);
    });
    const returned = this.wasm[step.call](...given);
    if (step.bind) this.bound.set(step.bind, returned);
    const isStatus = !/alloc|_ptr|_len/.test(step.call);
    return isStatus ? this.afterStatus(returned) : [step.call.endsWith("_len") ? returned : returned === undefined ? "none" : returned !== 0];
  }
}

for (const steps of job.sessions) {
  const bare = await WebAssembly.instantiate(module, {});
  const instance = job.record ? record(bare, { ...job.options, module, wasm: bytes }) : bare;
  const page = new Page(instance);
  const seen = steps.map((step) => {
    try {
      return page.run(step);
    } catch (error) {
      return [`${error.name}: ${error.message}`, error instanceof WebAssembly.RuntimeError];
    }
  });
  console.log(JSON.stringify({ seen, recording: job.record ? instance.recording() : null }));
}
