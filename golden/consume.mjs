// Run the goldens beside this file on a WebAssembly build, as FORMAT.md says (section 7).
//
//   node golden/consume.mjs build.wasm     Node 18 or newer; --help lists the options
//   golden/consume.html                    the same in a browser
//
// The build runs in a worker, which imports this file too: a build that loops is ended with its worker.
// Order of this file: values, the build's documents, the module's surface, a session in the worker, the worker seen
// from outside, goldens, comparison, verdicts and the report, words for people, the command line of Node.

export const FORMAT = 1;
export const REPORT_VERSION = 1;
export const DEFAULT_SECONDS = 10;
export const FINE = ["MATCH", "BOTH_FAILED", "UNSUPPORTED"];

const MOST_LIMITS = 5; // cases that a limit may stop before the rest is given up: a hanging build must not hang the run
const MOST_TEXT_BYTES = 16777216; // result text and diagnostics document (section 7, 5.3)
const MOST_FIELD_CHARACTERS = 1 << 20; // no right diagnostics field comes near; longer ones are not sent around
const MOST_NESTING = 64; // of a diagnostics document; the contract's needs 2
const READ_AHEAD = 16; // cases
const MOST_LEVELS = 32; // of lists and objects in a golden (section 2)
const MOST_VALUE_BYTES = 16777216; // of one value of bytes (section 2)
const MOST_FILE_BYTES = 1 << 27; // no artifact above this can be loaded (MEM-2)

/** An end of the whole run that is no verdict: a message for the user, and the exit code. */
export class ConsumeError extends Error {
  constructor(message, exitCode) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** A golden that does not follow FORMAT.md, although its hashes may fit. */
export class GoldenError extends Error {}

// Values (section 2) --------------------------------------------------------------------------------------------------

/** Return the canonical JSON of a value: no comments, keys by code point, ASCII. */
export function canonicalJson(value, depth = 0) {
  if (depth > MOST_LEVELS) throw new GoldenError(`JSON is nested deeper than ${MOST_LEVELS} levels`);
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item, depth + 1)).join(",")}]`;
  if (typeof value === "string") return quoted(value);
  if (typeof value === "number" && !Number.isSafeInteger(value))
    throw new GoldenError(`${value} is no integer below 2^53`);
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const keys = Object.keys(value).filter((key) => !key.startsWith("_"));
  return `{${keys
    .sort(byCodePoint)
    .map((key) => `${quoted(key)}:${canonicalJson(value[key], depth + 1)}`)
    .join(",")}}`;
}

const quoted = (text) =>
  JSON.stringify(text).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

export function byCodePoint(one, other) {
  const [a, b] = [Array.from(one), Array.from(other)];
  for (let place = 0; place < Math.min(a.length, b.length); place += 1) {
    if (a[place] !== b[place]) return a[place].codePointAt(0) - b[place].codePointAt(0);
  }
  return a.length - b.length;
}

/** Return the SHA-256 of bytes in lower-case hex. */
export async function sha256(bytes) {
  const { subtle } = globalThis.crypto ?? (await import("node:crypto")).webcrypto; // Node 18 has no global one
  if (!subtle) throw new ConsumeError("a browser has SHA-256 only on https pages and on localhost", 2);
  return hex(new Uint8Array(await subtle.digest("SHA-256", bytes)));
}

const hashOf = (value) => sha256(new TextEncoder().encode(canonicalJson(value)));
const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const hex = (bytes) => bytes.reduce((text, byte) => text + DIGITS[byte], "");

/** Return the bytes that lower-case hex, `{"hex", "repeat"}` or `{"text"}` stands for. */
export function bytesOf(value) {
  if (typeof value?.text === "string") return new TextEncoder().encode(value.text);
  const digits = typeof value === "string" ? value : value?.hex;
  if (typeof digits !== "string" || !/^(?:[0-9a-f]{2})*$/.test(digits))
    throw new GoldenError(`no bytes: ${inShort(value)}`);
  const once = new Uint8Array(digits.length / 2);
  for (let place = 0; place < once.length; place += 1)
    once[place] = Number.parseInt(digits.slice(2 * place, 2 * place + 2), 16);
  const repeat = typeof value === "string" ? 1 : (value.repeat ?? 1);
  if (!(Number.isInteger(repeat) && repeat >= 0 && once.length * repeat <= MOST_VALUE_BYTES))
    throw new GoldenError(`not 0 to ${MOST_VALUE_BYTES} bytes: ${inShort(value)}`);
  const whole = new Uint8Array(once.length * repeat);
  for (let turn = 0; turn < repeat; turn += 1) whole.set(once, turn * once.length);
  return whole;
}

/** Return the double that a number, a decimal string or a hex float stands for. */
export function floatOf(value) {
  if (typeof value === "number") return value;
  const special = { inf: Infinity, "-inf": -Infinity, nan: NaN }[value];
  if (special !== undefined) return special;
  const parts = /^(-?)0x([0-9a-f])(?:\.([0-9a-f]+))?p([+-]\d+)$/.exec(value);
  if (parts) {
    const [, sign, whole, fraction = "", exponent] = parts;
    const scale = Number(exponent) - 4 * fraction.length;
    const half = Math.trunc(scale / 2); // 2 ** scale alone may underflow where the product does not
    return (sign ? -1 : 1) * Number.parseInt(whole + fraction, 16) * 2 ** half * 2 ** (scale - half);
  }
  if (/^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(value)) return Number(value);
  throw new GoldenError(`no float: ${inShort(value)}`);
}

/** Return the numbers of a one-dimensional `.npy` file of int32 or float32. */
export function readNpy(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 10 + view.getUint16(8, true);
  const header = String.fromCharCode(...bytes.subarray(10, start));
  const kind = /'descr': '<(i4|f4)'/.exec(header)?.[1];
  if (hex(bytes.subarray(0, 8)) !== "934e554d50590100" || !kind)
    throw new GoldenError("no .npy file of int32 or float32");
  const read = kind === "i4" ? view.getInt32 : view.getFloat32;
  return Array.from({ length: (bytes.length - start) / 4 }, (_, place) => read.call(view, start + 4 * place, true));
}

const inShort = (value) => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
};

// Documents of the build: JSON.parse would lose `1.0` against `1`, and digits beyond 2^53 -----------------------------

/** A number as the build wrote it. Plain, because it travels between threads. */
const isNumber = (value) => typeof value === "object" && value !== null && "number" in value;

class JsonReader {
  constructor(text) {
    this.text = text;
    this.position = 0;
  }

  take(pattern) {
    pattern.lastIndex = this.position;
    const found = pattern.exec(this.text)?.[0];
    if (found !== undefined) this.position += found.length;
    return found;
  }

  sign(wanted) {
    this.take(/[ \t\n\r]*/y);
    const found = this.text[this.position] === wanted;
    if (found) this.position += 1;
    return found;
  }

  must(found) {
    if (!found) throw new SyntaxError(`not JSON at character ${this.position}`);
    return found;
  }

  string() {
    this.take(/[ \t\n\r]*/y);
    return JSON.parse(this.must(this.take(/"[^"\\\u0000-\u001f]*(?:\\.[^"\\\u0000-\u001f]*)*"/y)));
  }

  /** Read a list up to its closing sign. */
  list(closing, item) {
    if (this.sign(closing)) return;
    do item();
    while (this.sign(","));
    this.must(this.sign(closing));
  }

  value(depth = 0) {
    if (depth > MOST_NESTING) throw new SyntaxError("nested too deeply");
    if (this.sign("[")) {
      const items = [];
      this.list("]", () => items.push(this.value(depth + 1)));
      return items;
    }
    if (this.sign("{")) {
      const members = new Map();
      this.list("}", () => {
        const name = this.string();
        this.must(this.sign(":"));
        const start = this.position;
        const value = this.value(depth + 1);
        const characters = this.position - start;
        members.set(name, depth === 0 && characters > MOST_FIELD_CHARACTERS ? { characters } : value);
      });
      return { members };
    }
    if (this.text[this.position] === '"') return this.string();
    const word = this.take(/true|false|null/y);
    if (word) return JSON.parse(word);
    return { number: this.must(this.take(/-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y)) };
  }
}

/** Return contract key -> value for the fields of a diagnostics document; none where it does not parse. */
export function readDiagnostics(bytes, names) {
  try {
    const reader = new JsonReader(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
    const { members } = reader.value();
    reader.sign("");
    reader.must(reader.position === reader.text.length);
    if (!(members instanceof Map)) return {};
    const shown = names.filter(([, theirs]) => members.has(theirs));
    return Object.fromEntries(shown.map(([name, theirs]) => [name, members.get(theirs)]));
  } catch {
    return {};
  }
}

// Surface of the module (ABI-1, ABI-2): hosts do not tell the types of functions, so they are read from the bytes -----

const VALUE_TYPES = {
  0x7f: "i32",
  0x7e: "i64",
  0x7d: "f32",
  0x7c: "f64",
  0x7b: "v128",
  0x70: "funcref",
  0x6f: "externref",
};

class ModuleReader {
  constructor(bytes) {
    this.bytes = bytes;
    this.position = 8;
  }

  byte() {
    if (this.position >= this.bytes.length) throw new ConsumeError("the module ends too early", 2);
    return this.bytes[this.position++];
  }

  number() {
    let value = 0;
    for (let scale = 1, byte = 0x80; byte & 0x80; scale *= 128) value += ((byte = this.byte()) & 0x7f) * scale;
    return value;
  }

  name() {
    const length = this.number();
    this.position += length;
    return new TextDecoder().decode(this.bytes.subarray(this.position - length, this.position));
  }

  many(item) {
    return Array.from({ length: this.number() }, () => item());
  }

  valueType() {
    const code = this.byte();
    const found = VALUE_TYPES[code];
    if (!found) throw new ConsumeError(`the module uses a value type (0x${code.toString(16)}) that no build needs`, 2);
    return found;
  }

  functionType() {
    if (this.byte() !== 0x60) throw new ConsumeError("the module has a type that is no function type", 2);
    return functionText(
      this.many(() => this.valueType()),
      this.many(() => this.valueType()),
    );
  }

  limits(what) {
    const flags = this.number();
    this.number();
    if (flags & 1) this.number();
    if (flags & 8) this.number();
    return `${flags & 2 ? "shared " : ""}${flags & 4 ? "64-bit " : ""}${what}${flags & 8 ? " with other pages" : ""}`;
  }
}

const functionText = (parameters, results) =>
  `function (${parameters.join(", ")}) -> ${results.length === 1 ? results[0] : `(${results.join(", ")})`}`;

/** Return what a valid module imports and exports: lists of `{name, found}` with a description each. */
export function readSurface(bytes) {
  const reader = new ModuleReader(bytes);
  const [imports, exports, types, functions, memories] = [[], [], [], [], []];
  const kinds = ["function", "table", "memory", "global", "tag"];
  const readImport = () => {
    const name = `${reader.name()}.${reader.name()}`;
    const kind = reader.byte();
    let found = kinds[kind] ?? `kind ${kind}`;
    if (kind === 0) functions.push((found = types[reader.number()]));
    else if (kind === 2) memories.push((found = reader.limits("memory")));
    else if (kind === 1) (reader.valueType(), reader.limits("table"));
    else if (kind === 3) (reader.valueType(), reader.byte());
    else (reader.byte(), reader.number());
    imports.push({ name, found });
  };
  const readExport = () => {
    const [name, kind, place] = [reader.name(), reader.byte(), reader.number()];
    exports.push({ name, found: { 0: functions, 2: memories }[kind]?.[place] ?? kinds[kind] ?? `kind ${kind}` });
  };
  const sections = {
    1: () => types.push(...reader.many(() => reader.functionType())),
    2: () => reader.many(readImport),
    3: () => functions.push(...reader.many(() => types[reader.number()])),
    5: () => memories.push(...reader.many(() => reader.limits("memory"))),
    7: () => reader.many(readExport),
  };
  while (reader.position < bytes.length) {
    const section = reader.byte();
    const end = reader.number() + reader.position;
    sections[section]?.();
    reader.position = end;
  }
  return { imports, exports };
}

/** Return every difference between the surface of a module and the one that the goldens need. */
export function interfaceProblems(surface, exports) {
  const wanted = new Map([["memory", "memory"]]);
  for (const [name, { parameters, result }] of Object.entries(exports)) {
    wanted.set(name, functionText(parameters, result === "none" ? [] : ["i32"]));
  }
  const found = new Map(surface.exports.map((item) => [item.name, item.found]));
  const problems = surface.imports.map((item) => ({ name: item.name, expected: "no import", found: item.found }));
  for (const [name, expected] of wanted) {
    if (found.get(name) !== expected) problems.push({ name, expected, found: found.get(name) ?? "nothing" });
  }
  for (const item of surface.exports) {
    if (!wanted.has(item.name) && item.found !== "global") problems.push({ ...item, expected: "no other export" });
  }
  return problems.map(({ name, expected, found: description }) => ({
    name: inOneLine(name),
    expected,
    found: description,
  }));
}

const inOneLine = (text) => shown(text.length > 120 ? `${text.slice(0, 117)}...` : text);

// A session with the build, in the worker (section 7, step 5) ---------------------------------------------------------

class Trap extends Error {}
class BuildError extends Error {}

class Session {
  constructor(module, settings, steps, announce) {
    this.settings = settings;
    this.announce = announce;
    this.names = new Set(steps.map((step) => step.bind).filter(Boolean));
    this.bound = {};
    announce("instantiation");
    this.exports = new WebAssembly.Instance(module, {}).exports;
  }

  /** Run one step and return what it showed: kind, value, result, diagnostics, detail. */
  run(step, models) {
    try {
      return this.perform(step, models);
    } catch (problem) {
      if (problem instanceof Trap) return { kind: "trap", detail: problem.message };
      if (problem instanceof BuildError) return { kind: "error", detail: problem.message };
      throw problem;
    }
  }

  perform(step, models) {
    if ("write" in step) {
      this.write(this.place(step.write), bytesOf(step.bytes));
      return { kind: "none" };
    }
    if ("load" in step) {
      const bytes = models[step.load];
      return this.afterStatus(this.transfer(bytes, (pointer) => this.call("load_model", [pointer, bytes.length])));
    }
    if ("configure" in step) {
      const { temperature, top_k, top_p, seed } = step.configure;
      return this.afterStatus(this.call("set_sampling_config", [temperature, top_k, top_p, seed]));
    }
    if ("generate" in step) {
      const prompt = bytesOf(step.generate.prompt);
      const count = step.generate.max_new_tokens;
      return this.afterStatus(
        this.transfer(prompt, (pointer) => this.call("generate", [pointer, prompt.length, count])),
      );
    }
    const [name, ...given] = step.call;
    const value = this.call(name, given);
    const { result } = this.settings.exports[name];
    if (result === "none") return { kind: "none" };
    if (step.bind) this.bound[step.bind] = value;
    return result === "status" ? this.afterStatus(value) : { kind: "value", value };
  }

  call(name, given) {
    const { parameters, result } = this.settings.exports[name] ?? {};
    if (parameters?.length !== given.length) throw new GoldenError(`no export takes ${name}(${given.join(", ")})`);
    const values = given.map((argument, place) => this.number(argument, parameters[place]));
    this.announce(name);
    let value;
    try {
      value = this.exports[name](...values);
    } catch (trap) {
      throw new Trap(`${name} trapped: ${trap?.message ?? "an exception"}`);
    }
    return result === "none" ? undefined : value >>> 0;
  }

  /** Convert an argument of a case to a wasm parameter (ABI-3). */
  number(argument, type) {
    if (type === "f32") return floatOf(argument);
    const given = /^[a-z]/.test(argument) ? this.place(argument) : argument;
    if (!/^-?\d+$/.test(String(given))) throw new GoldenError(`no integer: ${inShort(argument)}`);
    return type === "i64" ? BigInt.asIntN(64, BigInt(given)) : Number(BigInt.asIntN(32, BigInt(given)));
  }

  place(text) {
    const [, name, offset = "0"] = /^([a-z][a-z_]*)(?:\+(\d+))?$/.exec(text) ?? [];
    if (!this.names.has(name)) throw new GoldenError(`no place: ${inShort(text)}`);
    if (!Object.hasOwn(this.bound, name))
      throw new BuildError(`${name} has no value: the call that gives it one did not return`);
    return this.bound[name] + Number(offset);
  }

  /** Hand over bytes in a fresh buffer, which is freed again also when the call traps. */
  transfer(bytes, use) {
    if (bytes.length === 0) return use(1);
    const pointer = this.call("alloc", [bytes.length]);
    if (pointer === 0) throw new BuildError(`alloc(${bytes.length}) returned 0`);
    let value;
    try {
      this.write(pointer, bytes);
      value = use(pointer);
    } catch (problem) {
      try {
        this.call("dealloc", [pointer, bytes.length]);
      } catch {
        // what went wrong first is what counts
      }
      throw problem;
    }
    this.call("dealloc", [pointer, bytes.length]);
    return value;
  }

  afterStatus(value) {
    const result = this.text("last_result_ptr", "last_result_len");
    const document = this.text("get_diagnostics_ptr", "get_diagnostics_len");
    return { kind: "status", value, result, diagnostics: readDiagnostics(document, this.settings.diagnostics) };
  }

  text(pointerExport, lengthExport) {
    const [pointer, length] = [this.call(pointerExport, []), this.call(lengthExport, [])];
    if (pointer === 0) return new Uint8Array();
    if (length > MOST_TEXT_BYTES)
      throw new BuildError(`${lengthExport} returned ${length}; at most ${MOST_TEXT_BYTES} are read`);
    return this.memory(pointer, length).slice();
  }

  write(pointer, bytes) {
    this.memory(pointer, bytes.length).set(bytes);
  }

  memory(pointer, length) {
    const { buffer } = this.exports.memory; // asked anew each time: a view does not survive growth (MEM-5)
    if (pointer + length > buffer.byteLength) {
      throw new BuildError(`${length} bytes at ${pointer} reach past memory of ${buffer.byteLength} bytes`);
    }
    return new Uint8Array(buffer, pointer, length);
  }
}

/** Compile a build and run cases for the thread behind `port`; every call is announced before it begins. */
function serve(port) {
  let module;
  let settings;
  const announce = (name) => port.postMessage({ kind: "call", name });
  const compile = (order) => {
    announce("compilation");
    settings = order.settings;
    try {
      module = new WebAssembly.Module(order.bytes);
    } catch (error) {
      return { kind: "invalid", detail: error.message };
    }
    return { kind: "done" };
  };
  const run = ({ steps, models }) => {
    let session;
    try {
      session = new Session(module, settings, steps, announce);
    } catch (error) {
      port.postMessage({
        kind: "observed",
        shown: { kind: "error", detail: `instantiation failed: ${error.message}` },
      });
      return { kind: "done" };
    }
    for (const step of steps) {
      const seen = session.run(step, models);
      port.postMessage({ kind: "observed", shown: seen });
      if (seen.kind === "error") break;
    }
    return { kind: "done" };
  };
  port.onmessage = ({ data }) => {
    try {
      port.postMessage(data.bytes ? compile(data) : run(data));
    } catch (error) {
      const isGolden = error instanceof GoldenError;
      port.postMessage({ kind: isGolden ? "golden" : "crash", detail: isGolden ? error.message : String(error.stack) });
    }
  };
}

// The worker seen from outside ----------------------------------------------------------------------------------------

/**
 * A build that answers cases. `startWorker(onMessage, onEnd)` starts a worker of this file and returns an object with
 * `post(message)` and `end()`. A call that takes longer than `seconds` ends the worker; the next case gets a new one.
 */
export class Build {
  constructor(startWorker, bytes, settings, seconds) {
    Object.assign(this, { startWorker, bytes, settings, seconds, worker: null, interrupt: null });
  }

  /** Compile the build: ConsumeError when it is no module. */
  async compile() {
    const order = { bytes: this.bytes, settings: this.settings };
    const worker = this.startWorker(
      (message) => worker === this.worker && this.receive?.(message),
      (detail) => worker === this.worker && this.interrupt?.(`the worker ended: ${detail}`),
    );
    this.worker = worker;
    const { kind, detail } = await this.exchange(order);
    if (kind === "invalid") throw new ConsumeError(`not a WebAssembly module: ${detail}`, 2);
    if (kind !== "done") throw new ConsumeError(detail, kind === "crash" ? 4 : 1);
  }

  /**
   * Run steps on a fresh instance and return what every step showed, up to one that ended the case: GoldenError.
   * `crash` tells a bug of this file.
   */
  async run(steps, models) {
    if (!this.worker) await this.compile();
    const { kind, detail, seen } = await this.exchange({ steps, models });
    if (kind === "golden") throw new GoldenError(detail);
    if (kind === "limit") seen.push({ kind: "limit", detail });
    return { seen, crash: kind === "crash" ? detail : "" };
  }

  /** End the worker; a case that runs is over. */
  end(reason = "stopped") {
    if (this.interrupt) this.interrupt(reason);
    else this.discard();
  }

  discard() {
    this.worker?.end();
    this.worker = null;
  }

  exchange(order) {
    return new Promise((resolve) => {
      const seen = [];
      let timer;
      let call = "a call";
      const finish = (ending) => {
        clearTimeout(timer);
        this.receive = this.interrupt = null;
        resolve({ ...ending, seen });
      };
      this.interrupt = (detail) => {
        this.discard();
        finish({ kind: "limit", detail });
      };
      this.receive = (message) => {
        if (message.kind === "observed") seen.push(message.shown);
        else if (message.kind === "call") {
          call = message.name;
          clearTimeout(timer);
          timer = setTimeout(() => this.interrupt(`${call} was stopped after ${this.seconds} s`), this.seconds * 1000);
        } else finish(message);
      };
      this.worker.post(order);
    });
  }
}

// Goldens (sections 3 to 5) -------------------------------------------------------------------------------------------

/** The goldens below a place; `read(path)` gives the bytes of a file there, or ConsumeError with exit code 3. */
export class Golden {
  static async open(read) {
    const data = await read("INDEX.json");
    try {
      const index = parseJson(data, "INDEX.json");
      if (!isObject(index)) throw new GoldenError("INDEX.json is no object");
      const { root, ...rest } = index;
      if (index.format !== FORMAT) {
        throw new GoldenError(`INDEX.json has format ${inShort(index.format)}; this consumer reads format ${FORMAT}`);
      }
      if ((await hashOf(rest)) !== root) throw new GoldenError("INDEX.json: its root hash does not fit");
      checkIndex(index);
      return new Golden(read, index);
    } catch (error) {
      throw error instanceof GoldenError ? new ConsumeError(error.message, 1) : error;
    }
  }

  constructor(read, index) {
    this.read = read;
    this.index = index;
    this.artifacts = new Map();
  }

  /** Return what reports say about the goldens. */
  get about() {
    const { format, contract, profile, root } = this.index;
    return { format, contract, profile: profile.fingerprint, root };
  }

  /** Return the ids that fit any of the filters, all without filters, by code point. */
  select(filters) {
    const fits = (id) =>
      filters.length === 0 ||
      filters.some(
        (filter) =>
          filter === id.split("/")[0] || this.index.cases[id].rules.includes(filter) || shellPattern(filter).test(id),
      );
    return Object.keys(this.index.cases).filter(fits).sort(byCodePoint);
  }

  /** Read a case with its artifacts; `stale` says which hash does not fit, empty if all do. */
  async case(id) {
    const entry = this.index.cases[id];
    const session = parseJson(await this.read(`cases/${id}/case.json`), `cases/${id}/case.json`);
    const expect = parseJson(await this.read(`cases/${id}/expect.json`), `cases/${id}/expect.json`);
    const caseHash = await hashOf(session);
    const found = { id, session, expect, entry, models: {}, stale: "" };
    if (caseHash !== entry.case) return { ...found, stale: "the hash of case.json does not fit INDEX.json" };
    if ((await hashOf(expect)) !== entry.expect) {
      return { ...found, stale: "the hash of expect.json does not fit INDEX.json" };
    }
    checkShape(session, expect, id, this.about);
    for (const [name, hash] of Object.entries(entry.arrays)) {
      if ((await sha256(await this.read(`cases/${id}/${name}`))) !== hash) {
        return { ...found, stale: `the hash of ${name} does not fit INDEX.json` };
      }
    }
    const hashes = {};
    for (const [name, recipe] of Object.entries(session.models ?? {})) {
      const { bytes, hash } = await this.artifact(recipe.file);
      if (hash !== this.index.models[recipe.file]?.sha256) {
        return { ...found, stale: `the hash of ${recipe.file} does not fit INDEX.json` };
      }
      const changed = recipe.length !== undefined || recipe.patch || recipe.append !== undefined;
      found.models[name] = changed ? applied(recipe, bytes) : bytes;
      hashes[name] = changed ? await sha256(found.models[name]) : hash;
    }
    if ((await hashOf({ case: caseHash, models: hashes })) !== expect.inputs) {
      found.stale = "expect.json was made from another case or other models";
    }
    return found;
  }

  async artifact(path) {
    if (!this.artifacts.has(path)) {
      const bytes = await this.read(path);
      this.artifacts.set(path, { bytes, hash: await sha256(bytes) });
    }
    return this.artifacts.get(path);
  }

  /** Return the kept candidates of a sample as `[id, weight]`, none for a token that was not drawn. */
  async candidates(id, sample) {
    if (sample.greedy !== undefined) return [];
    const columns = [];
    for (const name of ["ids.npy", "weights.npy"]) {
      const numbers = readNpy(await this.read(`cases/${id}/${name}`));
      columns.push(numbers.slice(sample.first, sample.first + sample.kept));
    }
    return columns[0].map((token, place) => [token, columns[1][place]]);
  }
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const ID = /^[a-z0-9][a-z0-9.-]*\/[a-z0-9][a-z0-9.-]*$/;
const MODEL_FILE = /^models\/(?!\.)[A-Za-z0-9._-]+$/;

const isListOf = (names, members) =>
  Array.isArray(names) && isObject(members) && names.every((name) => Object.hasOwn(members, name));

const isFeatureTable = (table, models) =>
  isObject(table?.plain) &&
  Array.isArray(table.refusals) &&
  [table.required, table.absence, table.refusal].every((text) => typeof text === "string") &&
  Object.values(table.plain).every(
    (entry) =>
      typeof entry?.title === "string" &&
      isListOf(entry.needs, table.plain) &&
      MODEL_FILE.test(entry.file) &&
      Object.hasOwn(models ?? {}, entry.file),
  );

/** Check as much of an index as running its cases needs, and that it names no file elsewhere: GoldenError. */
function checkIndex(index) {
  const isEntry = (entry) =>
    Array.isArray(entry?.rules) &&
    isListOf(entry.features, index.features?.plain) &&
    isObject(entry.arrays) &&
    Object.keys(entry.arrays).every((name) => name === "ids.npy" || name === "weights.npy");
  const isExport = (item) => Array.isArray(item?.parameters) && typeof item.result === "string";
  const checks = {
    profile: isObject(index.profile),
    statuses: isObject(index.statuses),
    exports: isObject(index.exports) && Object.values(index.exports).every(isExport),
    diagnostics: isObject(index.diagnostics),
    features: isFeatureTable(index.features, index.models),
    cases: isObject(index.cases) && Object.entries(index.cases).every(([id, entry]) => ID.test(id) && isEntry(entry)),
    models: isObject(index.models) && Object.keys(index.models).every((file) => MODEL_FILE.test(file)),
  };
  const wrong = Object.keys(checks).find((name) => !checks[name]);
  if (wrong) throw new GoldenError(`INDEX.json: ${wrong} is not as FORMAT.md says`);
}

/** Check as much of a case as running it needs: GoldenError. */
function checkShape(session, expect, id, { contract, profile }) {
  if (!isObject(session) || !isObject(expect)) throw new GoldenError("case.json or expect.json is no object");
  const areSteps = (value) => Array.isArray(value) && value.length > 0 && value.every(isObject);
  const checks = {
    "case.json: format": session.format === FORMAT,
    "case.json: models": Object.values(session.models ?? {}).every((recipe) => MODEL_FILE.test(recipe?.file)),
    "case.json: steps": areSteps(session.steps),
    "expect.json: format": expect.format === FORMAT,
    "expect.json: case": expect.case === id,
    "expect.json: contract": expect.contract === contract,
    "expect.json: profile": expect.profile === profile,
    "expect.json: samples": Array.isArray(expect.samples) && expect.samples.every(isObject),
    "expect.json: steps": areSteps(expect.steps) && areSteps(session.steps) && isWhole(expect.steps, session.steps),
  };
  const wrong = Object.keys(checks).find((name) => !checks[name]);
  if (wrong) throw new GoldenError(`${wrong} is not as FORMAT.md says`);
}

/** Say whether every step has an answer; after a trap the rest may be left out. */
const isWhole = (answers, steps) =>
  answers.length === steps.length ||
  (answers.length < steps.length && alternatives(answers.at(-1)).some((entry) => "trap" in entry));

function parseJson(bytes, path) {
  try {
    // A byte order mark is kept, and is no JSON.
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    throw new GoldenError(`${path}: ${error.message}`);
  }
}

/** Cut, patch and extend an artifact as the recipe of a case says. */
function applied({ length, patch = [], append = "" }, bytes) {
  const kept = bytes.subarray(0, length ?? bytes.length);
  const isPlace = (number) => Number.isInteger(number) && number >= 0;
  const fits = ({ at, hex: digits }) => isPlace(at) && at + bytesOf(digits).length <= kept.length;
  if (!(isPlace(length ?? 0) && (length ?? 0) <= bytes.length && Array.isArray(patch) && patch.every(fits)))
    throw new GoldenError("case.json: a model is cut or patched beyond its end");
  const tail = bytesOf(append);
  const whole = new Uint8Array(kept.length + tail.length);
  whole.set(kept);
  for (const { at, hex: digits } of patch) whole.subarray(0, kept.length).set(bytesOf(digits), at);
  whole.set(tail, kept.length);
  return whole;
}

/** Return a regular expression for a shell pattern: `*`, `?`, `[abc]`, `[!abc]`. */
function shellPattern(pattern) {
  const source = pattern.replace(/\[(!?)([^\]]+)\]|[*?]|[^]/g, (part, not, characters) => {
    if (part === "*") return ".*";
    if (part === "?") return ".";
    if (characters) return `[${not ? "^" : ""}${characters.replace(/[\\\]^]/g, "\\$&")}]`;
    return part.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  });
  return new RegExp(`^${source}$`, "s");
}

// Features (section 7, step 4) ----------------------------------------------------------------------------------------

/** Return features and all that they stand on, by code point: a container comes before what is in it. */
function withNeeds(names, plain) {
  const found = new Set();
  const add = (name) => {
    if (found.has(name)) return;
    found.add(name);
    plain[name].needs.forEach(add);
  };
  names.forEach(add);
  return [...found].sort(byCodePoint);
}

/**
 * Ask a build for the features that cases need, each on a fresh instance: the names of those whose plain file it refuses
 * with the status of the refusal. What stands on an absent feature is not asked; after a limit nothing more is.
 */
async function findAbsent(golden, build, ids) {
  const { features, cases, statuses, models } = golden.index;
  const absent = {};
  const asked = new Set();
  for (const name of withNeeds(new Set(ids.flatMap((id) => cases[id].features)), features.plain)) {
    const { file, needs } = features.plain[name];
    if (needs.some((need) => need in absent || !asked.has(need))) continue;
    const { bytes, hash } = await golden.artifact(file);
    if (hash !== models[file].sha256) throw new ConsumeError(`${file}: its hash does not fit INDEX.json`, 1);
    asked.add(name);
    const { seen } = await build.run([{ call: ["init_runtime"] }, { load: "plain" }], { plain: bytes });
    const answer = seen.at(-1);
    if (answer?.kind === "limit") break;
    const status = seen.length === 2 && answer.kind === "status" ? outcome(answer, statuses) : "";
    if (features.refusals.includes(status)) absent[name] = status;
  }
  return absent;
}

/** Return the first absent feature that a case needs, if any. */
const missingFeature = (id, { features, cases }, absent) =>
  withNeeds(cases[id].features, features.plain).find((name) => name in absent);

const sentence = (text, { title }, status) => text.replace("{title}", () => title).replace("{status}", () => status);

/** Return what shows that the build refuses the plain file on which all stands. */
function refusedResult({ features }, status) {
  const { required, plain, refusal } = features;
  const fields = [{ field: "status", expected: "Ok", found: status }];
  return {
    ...emptyResult(`features/${required}`),
    ...{ rules: ["ID-1", "ST-3"], verdict: "ONLY_WASM_FAILED", reason: sentence(refusal, plain[required], status) },
    ...{ steps: 1, fields: 1, first_difference: { step: 0, call: `load_model ${required}`, fields } },
  };
}

// Comparison (section 7, step 6) --------------------------------------------------------------------------------------

// In the order of DG-3, those of the model's numbers last.
const FIELDS = [
  ...["model_load_ms", "prompt_tokens", "generated_tokens", "tokens_per_second", "peak_scratch_bytes", "kv_length"],
  ...["quantization", "last_error", "model_loaded", "temperature", "top_k", "top_p", "seed"],
  ...["tokenizer_output", "selected_token", "top_tokens", "logits_summary"],
];

/**
 * Compare what a build showed with what is expected: how many steps and fields were compared, how often a field was
 * lost, and the first differing step, if any.
 */
export function compare(expected, seen, offered, index) {
  const known = new Set([...offered, ...seen.flatMap((step) => Object.keys(step.diagnostics ?? {}))]);
  const found = { steps: 0, fields: 0, lost: {}, first: null };
  let carried = {};
  for (const [place, entry] of expected.entries()) {
    const shownHere = seen[place] ?? { kind: "error", detail: "the session ended before this step" };
    const answers = alternatives(entry).sort((one, other) => isExpectedFailure(one) - isExpectedFailure(other));
    const compared = answers.map((answer) => compareStep(answer, shownHere, carried, known, index));
    const step = compared.find(({ differences }) => differences.length === 0) ?? compared[0];
    found.steps += 1;
    found.fields += step.fields;
    for (const name of step.lost) found.lost[name] = (found.lost[name] ?? 0) + 1;
    if (step.differences.length) {
      found.first = { step: place, differences: step.differences };
      return found;
    }
    carried = step.carried;
  }
  return found;
}

const isEither = (value) => Array.isArray(value?.either);
const alternatives = (value) => (isEither(value) ? value.either.flatMap(alternatives) : [value]);

function compareStep(expected, found, carried, known, { statuses }) {
  const step = { fields: 1, lost: [], differences: [], carried }; // one field is the kind with its status or value
  const differ = (field, mine, theirs) => step.differences.push({ field, expected: mine, found: theirs });
  const kind = ["status", "value", "none", "trap"].find((name) => name in expected);
  if (kind === undefined) throw new GoldenError(`no answer: ${inShort(expected)}`);
  const codes = kind === "status" ? alternatives(expected.status).map((name) => statuses[name]) : [];
  const agrees =
    found.kind === kind &&
    (kind === "status"
      ? codes.includes(found.value)
      : kind !== "value" || alternatives(expected.value).some((value) => sameValue(value, found.value)));
  if (!agrees) differ(kind, kind === "trap" || kind === "none" ? kind : expected[kind], outcome(found, statuses));
  if (kind !== "status" || found.kind !== "status") return step;
  if (expected.diagnostics) {
    step.carried = { ...carried, ...expected.diagnostics };
    for (const name of FIELDS.filter((key) => Object.hasOwn(step.carried, key))) {
      if (!known.has(name)) {
        step.lost.push(name);
        continue;
      }
      step.fields += 1;
      const theirs = found.diagnostics[name];
      if (theirs === undefined) differ(name, step.carried[name], "nothing (the build shows this field elsewhere)");
      else if (!same(step.carried[name], theirs, [name])) differ(name, step.carried[name], plain(theirs));
    }
  }
  if (expected.result !== undefined) {
    step.fields += 1;
    const isRight = (text) => text.length === 2 * found.result.length && text === hex(found.result);
    if (!alternatives(expected.result).some(isRight)) differ("result", expected.result, hex(found.result));
  }
  return step;
}

const sameValue = (expected, found) => (expected === "non-zero" ? found !== 0 : String(expected) === String(found));

const isFloatPlace = ([name, first, second, ...rest]) =>
  ((name === "temperature" || name === "top_p") && first === undefined) ||
  (name === "logits_summary" && first !== undefined && second === undefined) ||
  (name === "top_tokens" && second === 1 && rest.length === 0);

/** Compare a diagnostics value by meaning: floats as float32, all else exactly. */
function same(expected, found, path) {
  if (isEither(expected)) return expected.either.some((value) => same(value, found, path));
  if (Array.isArray(expected)) {
    const isList = Array.isArray(found) && found.length === expected.length;
    return isList && expected.every((value, place) => same(value, found[place], [...path, place]));
  }
  if (expected !== null && typeof expected === "object") {
    const keys = Object.keys(expected).filter((key) => !key.startsWith("_"));
    const isSet = found?.members instanceof Map && found.members.size === keys.length;
    return (
      isSet &&
      keys.every((key) => found.members.has(key) && same(expected[key], found.members.get(key), [...path, key]))
    );
  }
  if (expected !== null && isFloatPlace(path)) {
    if (!isNumber(found)) return false;
    const [mine, theirs] = [Math.fround(floatOf(expected)), Math.fround(Number(found.number))];
    return mine === theirs || (Number.isNaN(mine) && Number.isNaN(theirs));
  }
  if (typeof expected !== "number") return expected === found;
  return isNumber(found) && (found.number === "-0" ? "0" : found.number) === String(expected);
}

/** Return a value of the build as JSON would hold it; a number that a double does not hold stays text. */
function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  if (isNumber(value)) {
    const number = Number(value.number);
    return Number.isFinite(number) && (!Number.isInteger(number) || Number.isSafeInteger(number))
      ? number
      : value.number;
  }
  if (value.members) return Object.fromEntries(Array.from(value.members, ([key, item]) => [key, plain(item)]));
  return `a value of ${value.characters} characters`;
}

function outcome({ kind, value, detail }, statuses) {
  if (kind === "status")
    return Object.keys(statuses).find((name) => statuses[name] === value) ?? `unknown status ${value}`;
  if (kind === "value") return value;
  return kind === "none" ? kind : `${kind}: ${detail}`;
}

// Verdicts and the report (section 7, steps 7 to 9) -------------------------------------------------------------------

const isFailure = ({ kind, value }) => (kind === "status" ? value !== 0 : kind !== "value" && kind !== "none");
const isExpectedFailure = (entry) => "trap" in entry || ("status" in entry && entry.status !== "Ok");

function judge({ expect }, seen, { first }, statuses) {
  if (first === null) {
    const last = expect.steps.at(-1);
    return [alternatives(last).every(isExpectedFailure) ? "BOTH_FAILED" : "MATCH", ""];
  }
  const found = seen[first.step] ?? { kind: "error", detail: "the session ended before this step" };
  if (found.kind === "limit") return ["POISONED", found.detail];
  const refused = outcome(found, statuses);
  const answers = alternatives(expect.steps[first.step]);
  const [{ field, expected }] = first.differences;
  const isKind = ["status", "value", "none", "trap"].includes(field);
  const wasExpected = answers.every(isExpectedFailure);
  if (!isKind || wasExpected === isFailure(found)) return ["MISMATCH", ""];
  const reason = `expected ${answers.length > 1 ? "another answer" : expected}, the build: ${refused}`;
  return [wasExpected ? "ONLY_REF_FAILED" : "ONLY_WASM_FAILED", reason];
}

/** Return the trace of the first sampled token that differs, null where the step samples none. */
function firstDifferentSample({ expect }, { step, differences }) {
  const samples = expect.samples.filter((sample) => sample.step === step);
  const result = differences.find(({ field }) => field === "result");
  const text = result && alternatives(result.expected)[0];
  if (!text) return samples.at(-1) ?? null;
  let equal = 0;
  while (equal < text.length && text[equal] === result.found[equal]) equal += 1;
  const offset = equal >> 1;
  // A token below 256 is one byte of the text in every byte vocabulary. Otherwise the trace does not say where the text
  // of a token begins, and its place among the tokens is estimated from the place in the text.
  const written = samples.filter(({ token }) => token < 256 || token > 259);
  const isExact = written.length === text.length / 2;
  const place = isExact ? offset : Math.floor((offset * 2 * written.length) / text.length);
  return written[place] ?? samples.at(-1) ?? null;
}

/**
 * Run the goldens on a build and return the report of section 7.
 *
 * `read(path)` reads below golden/, `startWorker` is as for `Build`. `onStart(report, ids)` is called when the build is
 * compiled, `onCase(result, done)` after every case; `build` receives the running build, so that its owner can end it.
 */
export async function consume({ read, startWorker, bytes, name, filters = [], seconds = DEFAULT_SECONDS, ...hooks }) {
  const golden = await Golden.open(read);
  const ids = golden.select(filters);
  if (ids.length === 0)
    throw new ConsumeError(`no case fits ${filters.join(", ") || "the goldens: there are none"}`, 1);
  const { index } = golden;
  const report = {
    version: REPORT_VERSION,
    build: { name, sha256: await sha256(bytes), offered: [], absent: {} },
    golden: golden.about,
    exit_code: 1,
    problems: [],
    summary: emptySum(),
    families: [],
    lost: {},
    cases: [],
  };
  const settings = { exports: index.exports, diagnostics: Object.entries(index.diagnostics) };
  const build = new Build(startWorker, bytes, settings, seconds);
  hooks.build?.(build);
  try {
    await build.compile();
    report.problems = interfaceProblems(readSurface(bytes), index.exports);
    if (report.problems.length) return report;
    const { seen } = await build.run([{ call: ["init_runtime"] }], {});
    report.build.offered = Object.keys(seen[0]?.diagnostics ?? {}).sort();
    const absent = (report.build.absent = await findAbsent(golden, build, ids));
    hooks.onStart?.(report, ids);
    const { required } = index.features;
    if (required in absent) {
      const refused = refusedResult(index, absent[required]);
      addToReport(report, refused);
      await hooks.onCase?.(refused, report);
    }
    const openings = new Map(); // files of the next cases are read while one runs
    let limits = 0;
    for (const [place, id] of ids.entries()) {
      if (hooks.isStopped?.()) break;
      for (const next of ids.slice(place, place + READ_AHEAD).filter((other) => !openings.has(other))) {
        const opening = golden.case(next);
        opening.catch(() => {}); // it is awaited when its turn comes
        openings.set(next, opening);
      }
      const opening = openings.get(id);
      openings.set(id, null);
      const result =
        limits < MOST_LIMITS
          ? (unsupported(index, id, absent) ?? (await runCase(golden, build, opening, id, report.build.offered)))
          : notRun(golden, id, limits);
      if (result.verdict === "POISONED") limits += 1;
      addToReport(report, result);
      await hooks.onCase?.(result, report);
    }
  } finally {
    build.end();
  }
  report.exit_code = exitCode(report, ids.length, index.features.required);
  return report;
}

const emptySum = () => ({ cases: 0, steps: 0, fields: 0, verdicts: {} });

async function runCase(golden, build, opening, id, offered) {
  const result = emptyResult(id);
  try {
    const opened = await opening;
    result.rules = opened.entry.rules;
    if (opened.stale) return { ...result, verdict: "STALE", reason: opened.stale };
    const steps = opened.session.steps.slice(0, opened.expect.steps.length);
    const began = performance.now();
    const { seen, crash } = await build.run(steps, opened.models);
    result.seconds = Math.round(performance.now() - began) / 1000;
    if (crash) return { ...result, verdict: "ORACLE_CRASH", reason: crash };
    const compared = compare(opened.expect.steps, seen, offered, golden.index);
    const { steps: stepCount, fields, lost, first } = compared;
    [result.verdict, result.reason] = judge(opened, seen, compared, golden.index.statuses);
    Object.assign(result, { steps: stepCount, fields, lost });
    if (first) {
      result.first_difference = { step: first.step, call: describeStep(steps[first.step]), fields: first.differences };
      if (!FINE.includes(result.verdict)) result.sample = firstDifferentSample(opened, first);
      if (result.sample) result.candidates = await golden.candidates(id, result.sample);
    }
    return result;
  } catch (error) {
    if (error instanceof ConsumeError) throw error;
    if (error instanceof GoldenError) return { ...result, verdict: "STALE", reason: error.message };
    return { ...result, verdict: "ORACLE_CRASH", reason: error.stack ?? String(error) };
  }
}

/** Return the result of a case that needs what the build does not have; undefined for any other. */
function unsupported(index, id, absent) {
  const name = missingFeature(id, index, absent);
  if (name === undefined) return undefined;
  const reason = sentence(index.features.absence, index.features.plain[name], absent[name]);
  return { ...emptyResult(id), rules: index.cases[id].rules, verdict: "UNSUPPORTED", reason, missing: name };
}

function notRun(golden, id, limits) {
  const reason = `not run: a limit stopped the build ${limits} times before`;
  return { ...emptyResult(id), rules: golden.index.cases[id].rules, verdict: "POISONED", reason };
}

const emptyResult = (id) => ({
  ...{ id, rules: [], verdict: "", reason: "", steps: 0, fields: 0, lost: {} },
  ...{ first_difference: null, sample: null, candidates: [], seconds: 0 },
});

function addToReport(report, result) {
  const name = result.id.split("/")[0];
  let family = report.families.find((sum) => sum.name === name);
  if (!family) report.families.push((family = { name, ...emptySum() }));
  for (const sum of [report.summary, family]) {
    sum.cases += 1;
    sum.steps += result.steps;
    sum.fields += result.fields;
    sum.verdicts[result.verdict] = (sum.verdicts[result.verdict] ?? 0) + 1;
  }
  for (const [field, count] of Object.entries(result.lost)) report.lost[field] = (report.lost[field] ?? 0) + count;
  report.cases.push(result);
}

function exitCode({ build, cases, summary }, wanted, required) {
  if (cases.some(({ verdict }) => verdict === "ORACLE_CRASH")) return 4;
  if (required in build.absent) return 1;
  return cases.length === wanted && cases.every(({ verdict }) => FINE.includes(verdict)) && summary.steps > 0 ? 0 : 1;
}

/** Return the report as the machine-readable document of section 7: without what only the words for people need. */
export function reportDocument(report) {
  const cases = report.cases.map(({ candidates, rules, lost, missing, ...result }) => result);
  return { ...report, cases };
}

// Words for people ----------------------------------------------------------------------------------------------------

export const MEANINGS = {
  MATCH: "every compared field of every step agrees",
  BOTH_FAILED: "every step agrees, and the case ends in the failure that it expects",
  UNSUPPORTED: "the build does not have what the case needs",
  POISONED: "a limit stopped the build; what follows cannot be compared",
  ONLY_WASM_FAILED: "the build answers with a failure or traps where success is expected",
  ONLY_REF_FAILED: "the build succeeds where a failure is expected",
  MISMATCH: "the build answers otherwise",
  STALE: "the files of the case do not belong together: fill or fetch the goldens again",
  ORACLE_CRASH: "a bug in this consumer",
};

function describeStep(step) {
  if ("write" in step) return `write ${bytesOf(step.bytes).length} bytes to ${step.write}`;
  if ("load" in step) return `load_model ${step.load}`;
  if ("configure" in step) {
    const { temperature, top_k, top_p, seed } = step.configure;
    return `set_sampling_config(${temperature}, ${top_k}, ${top_p}, ${seed})`;
  }
  if ("generate" in step) return `generate(${visible(bytesOf(step.generate.prompt))}, ${step.generate.max_new_tokens})`;
  const [name, ...given] = step.call;
  return `${name}(${given.join(", ")})${step.bind ? ` -> ${step.bind}` : ""}`;
}

const SHOWN_BYTES = 60;

/** Return text with everything in it made visible. */
function shown(text) {
  return text.replace(/["\\]|[^\P{C}]|[^\P{Z} ]/gu, (character) => {
    const named = { '"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" }[character];
    return named ?? `\\u{${character.codePointAt(0).toString(16)}}`;
  });
}

/** Return bytes as text in quotes; what is not UTF-8 as `\x..`, what is long cut around `offset`. */
export function visible(bytes, offset = 0) {
  const start = Math.max(0, offset - SHOWN_BYTES / 2);
  const end = Math.min(bytes.length, start + SHOWN_BYTES);
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (let place = start, length; place < end; place += length) {
    let character;
    for (length = 1; length <= 4 && character === undefined; length += 1) {
      try {
        character = decoder.decode(bytes.subarray(place, place + length));
      } catch {
        character = undefined; // not whole yet, or not UTF-8
      }
    }
    length = character === undefined ? 1 : length - 1;
    text += character === undefined ? `\\x${hex(bytes.subarray(place, place + 1))}` : shown(character);
  }
  return `${start ? "..." : ""}"${text}"${end < bytes.length ? "..." : ""}`;
}

const HEX_FLOAT = /^-?0x[01](?:\.[0-9a-f]+)?p[+-]\d+$/;

/** Return the shortest decimal that reads back as this float32. */
function decimal(number) {
  for (let digits = 1; digits < 9; digits += 1) {
    if (Math.fround(Number(number.toPrecision(digits))) === number) return String(Number(number.toPrecision(digits)));
  }
  return String(Number(number.toPrecision(9)));
}

const readable = (value) => {
  if (typeof value === "string" && HEX_FLOAT.test(value)) return `${decimal(floatOf(value))} (${value})`;
  if (typeof value === "string") return `"${shown(value)}"`;
  if (Array.isArray(value)) return `[${value.map(readable).join(", ")}]`;
  if (isEither(value)) return value.either.map(readable).join(" or ");
  if (value === null || typeof value !== "object") return String(value);
  return `{${Object.entries(value)
    .map(([key, item]) => `${shown(key)}: ${readable(item)}`)
    .join(", ")}}`;
};

const label = (name, text) => `${name.padEnd(20)}${text}`;
const KINDS = ["status", "value", "none", "trap"];

function differenceLines({ field, expected, found }) {
  if (field === "result") {
    const [mine, theirs] = [bytesOf(alternatives(expected)[0]), bytesOf(found)];
    const offset = mine.findIndex((byte, place) => byte !== theirs[place]);
    const at = offset < 0 ? mine.length : offset; // the shorter is the beginning of the longer
    const lengths = `${mine.length} bytes expected, ${theirs.length} found; they differ at byte ${at}`;
    return [label("result", lengths), label("  expected", visible(mine, at)), label("  found", visible(theirs, at))];
  }
  const text = (value) => (KINDS.includes(field) && typeof value === "string" ? shown(value) : readable(value));
  const cut = (line) => (line.length > 400 ? `${line.slice(0, 397)}...` : line);
  const [mine, theirs] = [cut(text(expected)), cut(text(found))];
  if (mine.length + theirs.length < 80) return [label(field, `expected ${mine}, found ${theirs}`)];
  return [field, label("  expected", mine), label("  found", theirs)];
}

/** Explain a sampler trace in words. */
export function sampleLines(sample, candidates) {
  const numbers = (name) => decimal(floatOf(sample[name]));
  const best = sample.top.map(([token, logit]) => `${token} (${decimal(floatOf(logit))})`).join(", then ");
  const lines = [`token ${tokenText(sample.token)} was right here; greatest logits: ${best}`];
  if (sample.greedy !== undefined) return [...lines, `taken without a draw: ${shown(String(sample.greedy))}`];
  const output = sample.output === sample.state_after ? "" : `, output ${sample.output}`;
  lines.push(
    label("retained", `${sample.retained} candidates (top_k), weights sum to ${numbers("total")}`),
    label("kept", `${sample.kept} candidates (top_p), whose mass ${numbers("mass")} reaches ${numbers("threshold")}`),
    label("generator", `state ${sample.state_before} -> ${sample.state_after}${output}`),
    label("coin", `u = ${numbers("unit")}, so the point u x mass = ${numbers("point")} (${sample.point})`),
    label("winner", `place ${sample.index} of the kept prefix, where the running sum passes the point:`),
  );
  let sum = 0;
  for (const [place, [token, weight]] of candidates.entries()) {
    sum = Math.fround(sum + weight);
    if (Math.abs(place - sample.index) > 2) continue;
    const mark = place === sample.index ? ">" : " ";
    lines.push(
      `  ${mark} ${String(place).padStart(4)}  ${tokenText(token).padEnd(12)} weight ${decimal(weight)}, sum ${decimal(sum)}`,
    );
  }
  return lines;
}

const tokenText = (token) =>
  token > 32 && token < 127 ? `${token} "${shown(String.fromCharCode(token))}"` : `${token}`;

/** Return everything about one case that is not fine, line by line. */
export function caseLines(result) {
  const { id, verdict, reason, rules, first_difference: first } = result;
  const lines = [label("meaning", MEANINGS[verdict])];
  if (reason) lines.push(...reason.split("\n").map((line, place) => label(place ? "" : "reason", shown(line))));
  if (first) {
    const before =
      first.step < 2 ? ["no step before it", "step 0 agrees"][first.step] : `steps 0-${first.step - 1} agree`;
    lines.push(label(`step ${first.step}`, `${first.call}   (${before})`), ...first.fields.flatMap(differenceLines));
  }
  if (result.sample) lines.push("sampler", ...sampleLines(result.sample, result.candidates).map((line) => `  ${line}`));
  return [`${verdict} ${id}   (${rules.join(", ")})`, ...lines.map((line) => `  ${line}`)];
}

/** Return what was run against what, one fact a line. */
export function headerLines({ build, golden }) {
  return [
    `build     ${shown(build.name)}  sha256 ${build.sha256}`,
    `contract  ${golden.contract}, profile ${golden.profile}`,
    `goldens   format ${golden.format}, root ${golden.root}`,
  ];
}

/** Return the sums by family as a table: a list of rows, the first being the heads. */
export function familyTable({ families, summary }) {
  const verdicts = Object.keys(MEANINGS).filter((verdict) => summary.verdicts[verdict]);
  const row = (sum) => [
    sum.name,
    sum.cases,
    sum.steps,
    sum.fields,
    ...verdicts.map((verdict) => sum.verdicts[verdict] ?? 0),
  ];
  const heads = ["family", "cases", "steps", "fields", ...verdicts];
  return [heads, ...families.map(row), row({ name: "all", ...summary })].map((cells) => cells.map(String));
}

/** Return the fields that could not be compared, in words; empty if all could. */
export function lostLine({ lost }) {
  const fields = Object.entries(lost).map(([field, count]) => `${field} (${count})`);
  return fields.length ? `not compared, because the build does not show them: ${fields.join(", ")}` : "";
}

/** Return what the build does not have, in words; empty if it has all. */
export function absentLine({ build, cases }) {
  const rows = Object.entries(build.absent).map(([name, status]) => {
    const count = cases.filter(({ missing }) => missing === name).length;
    return `${name} (${status}, ${count} cases)`;
  });
  return rows.length ? `absent, because the build refuses a plain file of it: ${rows.join(", ")}` : "";
}

/** Return the whole report as text. */
export function reportLines(report) {
  const lines = headerLines(report);
  if (report.problems.length) {
    lines.push("", "The module does not have the surface of the contract (ABI-1, ABI-2), so nothing was run:");
    for (const { name, expected, found } of report.problems)
      lines.push(`  ${name}: expected ${expected}, found ${found}`);
    return lines;
  }
  for (const result of report.cases) {
    const isGivenUp = result.verdict === "POISONED" && result.reason.startsWith("not run");
    if (!FINE.includes(result.verdict) && !isGivenUp) lines.push("", ...caseLines(result));
  }
  const table = familyTable(report);
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
  const align = (cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]));
  lines.push("", ...table.map((row) => row.map(align).join("  ")), "");
  if (lostLine(report)) lines.push(lostLine(report));
  if (absentLine(report)) lines.push(absentLine(report));
  return [...lines, lastLine(report)];
}

/** Return the outcome in one line. */
export function lastLine({ summary, exit_code: code }) {
  const { cases, steps, fields, verdicts } = summary;
  const wrong = Object.entries(verdicts).filter(([verdict]) => !FINE.includes(verdict));
  const compared = `${cases} cases, ${steps} steps and ${fields} fields compared`;
  const outcomes = wrong.map(([verdict, count]) => `${count} ${verdict}`).join(", ");
  return `${code === 0 ? "fine" : "NOT FINE"}: ${compared}${outcomes ? `; ${outcomes}` : ""}`;
}

// Worker entry and command line ---------------------------------------------------------------------------------------

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
  const folder = options.golden || path.dirname(fileURLToPath(import.meta.url));
  const startWorker = (onMessage, onEnd) => {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: WORKER,
      resourceLimits: { maxOldGenerationSizeMb: 2048 },
    });
    worker.on("message", onMessage);
    worker.on("error", (error) => onEnd(error.message));
    worker.on("exit", (code) => onEnd(`exit code ${code}`));
    return { post: (message) => worker.postMessage(message), end: () => worker.terminate() };
  };
  const isTerminal = process.stderr.isTTY;
  const onCase = (result, { cases }) => {
    if (isTerminal) process.stderr.write(`\r\x1b[K${cases.length}  ${result.id}  ${result.verdict}`);
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

export const WORKER = "golden-consumer";

if (typeof process === "object" && process.versions?.node) {
  const { isMainThread, parentPort, workerData } = await import("node:worker_threads");
  if (!isMainThread && workerData === WORKER) serve(parentPort);
  else if (isMainThread && process.argv[1]) {
    const [{ realpathSync }, { pathToFileURL }, { setFlagsFromString }] = await Promise.all(
      ["node:fs", "node:url", "node:v8"].map((name) => import(name)),
    );
    if (import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
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
  }
} else if (
  typeof WorkerGlobalScope === "function" &&
  globalThis instanceof WorkerGlobalScope &&
  globalThis.name === WORKER
) {
  serve(globalThis);
}
