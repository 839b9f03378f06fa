// @ts-check
// Writes down what a page does with a TinyRustLM build, so that it can be run again and judged elsewhere.
//
//   import { record } from "./record.mjs";
//   const recorded = record(instance);        // right after WebAssembly.instantiate, before any call
//   useAsBefore(recorded.exports);            // same names, same memory, same numbers, same exceptions
//   recorded.download();                      // or: JSON.stringify(recorded.recording())
//
// Where the page's own code cannot be changed, `recordEvery()` before it runs does the same for every build.
//
// Then: refruntime record RECORDING.json -o DIR, and refruntime diff --recorded DIR.
// The document is described in docs/testing-a-build.md. Nothing here is specific to a browser but `download`.

export const RECORDING_VERSION = 1;

// Parameters of the contract's exports: i is an i32 with unsigned meaning, l an i64, f an f32 (rules ABI-1, ABI-2).
const PARAMETERS = {
  alloc: "i",
  dealloc: "ii",
  init_runtime: "",
  load_model: "ii",
  set_sampling_config: "fifl",
  generate: "iii",
  generate_next_token: "",
  last_result_ptr: "",
  last_result_len: "",
  get_diagnostics_ptr: "",
  get_diagnostics_len: "",
  reset_context: "",
  free_model: "",
};
const STATUS_EXPORTS = new Set([
  "init_runtime", "load_model", "set_sampling_config", "generate", "generate_next_token", "reset_context", "free_model",
]);
const SLICE_EXPORTS = new Set(["load_model", "generate"]);
const DECLARATION = "tinyrustlm.abi";

const MAX_SLICE_BYTES = 134217728; // MEM-2
const MAX_TEXT_BYTES = 16777216; // what any consumer reads at most
const MAX_INLINE_BYTES = 65536;
const MEBIBYTE = 1048576;

/**
 * Wrap a live instance. Options, all optional:
 *   name           what the session is called, such as "first chat"
 *   module         the WebAssembly.Module: its declaration of contract choices goes into the recording
 *   wasm           the bytes of the module: their SHA-256 goes into the recording
 *   maxModelBytes  longest artifact that is kept with its bytes (4 MiB); of a longer one hash and length are kept
 *   maxBytes       most bytes that the recording holds in all (64 MiB); then it stops, and says so
 *   maxEvents      most calls that are written down (100000); then it stops, and says so
 */
export function record(instance, options = {}) {
  const { name = "", module = null, wasm = null } = options;
  const limits = {
    model: options.maxModelBytes ?? 4 * MEBIBYTE,
    total: options.maxBytes ?? 64 * MEBIBYTE,
    events: options.maxEvents ?? 100000,
  };
  const native = instance.exports;
  const log = new Log(limits);
  const exports = Object.create(null);
  for (const [key, value] of Object.entries(native)) {
    exports[key] = typeof value !== "function" ? value : wrap(key, value, native, log);
  }
  Object.freeze(exports);

  const recording = () => ({
    format: "refruntime recording",
    version: RECORDING_VERSION,
    name: String(name),
    build: {
      sha256: wasm === null ? null : sha256(bytesOf(wasm)),
      declaration: module === null ? null : declaration(module),
      exports: Object.keys(native).filter((key) => typeof native[key] === "function"),
    },
    ...log.document(),
  });
  const download = (file = "recording.json") => {
    if (typeof document === "undefined") throw new Error("download() needs a page; elsewhere save recording()");
    const address = URL.createObjectURL(new Blob([JSON.stringify(recording())], { type: "application/json" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60000); // the browser may still be reading
  };
  // It passes as an instance: `instanceof` holds, and `exports` lies where a page looks for it.
  return Object.create(Object.getPrototypeOf(instance), {
    exports: { value: exports, enumerable: true },
    recording: { value: recording },
    download: { value: download },
  });
}

/**
 * Wrap every build that is instantiated from now on, for pages whose own code cannot be changed: call this before it
 * runs. Options as for `record`. `instances` are the wrapped ones in order; `stop()` makes WebAssembly its own again.
 */
export function recordEvery(options = {}) {
  const { Instance, instantiate, instantiateStreaming } = WebAssembly;
  const instances = [];
  const wrapped = (instance, module) => {
    if (typeof instance.exports.generate_next_token !== "function") return instance; // some other module of the page
    const recorded = record(instance, { ...options, module });
    instances.push(recorded);
    return recorded;
  };
  /** @type {(made: any) => any} */
  const pair = ({ module, instance }) => ({ module, instance: wrapped(instance, module) });
  WebAssembly.instantiate = async (source, ...imports) => {
    const made = await instantiate.call(WebAssembly, source, ...imports);
    return source instanceof WebAssembly.Module ? wrapped(made, source) : pair(made);
  };
  if (typeof instantiateStreaming === "function") {
    WebAssembly.instantiateStreaming = async (...given) => pair(await instantiateStreaming.apply(WebAssembly, given));
  }
  WebAssembly.Instance = new Proxy(Instance, {
    construct: (target, given, newTarget) => wrapped(Reflect.construct(target, given, newTarget), given[0]),
  });
  const own = { Instance, instantiate, ...(instantiateStreaming && { instantiateStreaming }) };
  const stop = () => void Object.assign(WebAssembly, own);
  return { instances, stop };
}

/** Return a function that does what `call` does and writes it down. */
function wrap(key, call, native, log) {
  const known = Object.hasOwn(PARAMETERS, key);
  const wrapper = (...given) => {
    if (!log.open) return call(...given);
    if (!known) {
      log.foreign(key);
      return call(...given);
    }
    const event = { call: key, arguments: null };
    let isUnderstood = false;
    let returned;
    try {
      const converted = convert(PARAMETERS[key], given);
      event.arguments = written(PARAMETERS[key], converted);
      isUnderstood = true;
      if (SLICE_EXPORTS.has(key)) log.attempt(() => noteSlice(event, native, log)); // before it changes
      returned = call(...converted);
    } catch (error) {
      event.arguments ??= given.map(safeText);
      event[isUnderstood ? "trap" : "refused"] = `${error?.name}: ${error?.message}`;
      log.attempt(() => log.add(event));
      throw error;
    }
    log.attempt(() => {
      event.returned = returned === undefined ? null : returned >>> 0;
      if (STATUS_EXPORTS.has(key)) noteAnswer(event, native);
      log.add(event);
    });
    return returned;
  };
  Object.defineProperty(wrapper, "name", { value: call.name });
  Object.defineProperty(wrapper, "length", { value: call.length });
  return wrapper;
}

/**
 * Convert arguments as an engine does, with the exceptions that it throws (ABI-3). The engine gets what comes out, so
 * that an object of the page is asked for its value once, as without this wrapper.
 */
function convert(types, given) {
  return [...types].map((type, index) => (type === "l" ? BigInt.asUintN(64, given[index]) : +given[index]));
}

/** Return converted arguments as the module sees them. */
function written(types, converted) {
  return converted.map((value, index) => {
    if (types[index] === "i") return value >>> 0;
    return types[index] === "l" ? String(value) : floatText(value);
  });
}

/** Return an argument that was refused; an object is not asked for its text, which would be the page's own code. */
function safeText(argument) {
  return argument !== null && ["object", "function"].includes(typeof argument) ? "object" : String(argument).slice(0, 100);
}

function floatText(value) {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  return Object.is(value, -0) ? "-0" : String(value);
}

/** Write down the bytes that a call is about to read: what they are decides the answer, where they lie does not. */
function noteSlice(event, native, log) {
  const [pointer, length] = event.arguments;
  if (pointer === 0 || length === 0 || length > MAX_SLICE_BYTES) return; // refused before anything is read (MEM-2)
  const memory = native.memory.buffer; // asked for anew each time: memory may have grown (MEM-5)
  if (pointer + length > memory.byteLength) {
    event.data = { outside: true };
    return;
  }
  const bytes = new Uint8Array(memory, pointer, length);
  event.data = event.call === "generate" && length <= MAX_INLINE_BYTES ? bytesValue(bytes) : log.keep(bytes);
}

/** Write down result and diagnostics after a status; their getters change nothing (DG-2). */
function noteAnswer(event, native) {
  for (const [field, getters] of [["result", "last_result"], ["diagnostics", "get_diagnostics"]]) {
    const pointerOf = native[`${getters}_ptr`];
    const lengthOf = native[`${getters}_len`];
    if (typeof pointerOf !== "function" || typeof lengthOf !== "function") continue;
    try {
      const pointer = pointerOf() >>> 0;
      const length = lengthOf() >>> 0;
      event[field] = pointer === 0 ? { hex: "" } : readText(native.memory.buffer, pointer, length);
    } catch (error) {
      event[field] = { error: `${error?.name}: ${error?.message}` };
    }
  }
}

function readText(memory, pointer, length) {
  if (length > MAX_TEXT_BYTES) return { error: `a length of ${length} bytes; at most ${MAX_TEXT_BYTES} are read` };
  if (pointer + length > memory.byteLength) {
    return { error: `range ${pointer} + ${length} lies outside memory of ${memory.byteLength} bytes` };
  }
  return bytesValue(new Uint8Array(memory, pointer, length));
}

/** The events of a session, within limits. */
class Log {
  constructor(limits) {
    this.limits = limits;
    this.events = [];
    this.blobs = new Map(); // SHA-256 -> {length, bytes or null}
    this.unrecorded = {};
    this.used = 0;
    this.truncated = null;
  }

  get open() {
    return this.truncated === null;
  }

  add(event) {
    const size = JSON.stringify(event).length;
    if (this.events.length >= this.limits.events) {
      this.truncated = `the limit of ${this.limits.events} events was reached`;
    } else if (this.used + size > this.limits.total) {
      this.truncated = `the limit of ${this.limits.total} bytes was reached`;
    } else {
      this.used += size;
      this.events.push(event);
    }
  }

  /** Do something for the recording; whatever goes wrong with it ends the recording, never the page. */
  attempt(action) {
    if (!this.open) return;
    try {
      action();
    } catch (error) {
      this.truncated = `the recorder failed: ${error?.name}: ${error?.message}`;
    }
  }

  foreign(key) {
    this.unrecorded[key] = (this.unrecorded[key] ?? 0) + 1;
  }

  /** Keep bytes by their hash, and the bytes themselves if they are short enough. */
  keep(bytes) {
    const hash = sha256(bytes);
    if (!this.blobs.has(hash)) {
      const fits = bytes.length <= this.limits.model && this.used + bytes.length * 4 / 3 <= this.limits.total;
      if (fits) this.used += Math.ceil(bytes.length * 4 / 3);
      this.blobs.set(hash, { length: bytes.length, bytes: fits ? bytes.slice() : null });
    }
    return { sha256: hash, length: bytes.length };
  }

  document() {
    const blobs = {};
    for (const [hash, { length, bytes }] of this.blobs) {
      blobs[hash] = bytes === null ? { length } : { length, base64: base64(bytes) };
    }
    return { events: this.events, blobs, unrecorded: this.unrecorded, truncated: this.truncated };
  }
}

function declaration(module) {
  const sections = WebAssembly.Module.customSections(module, DECLARATION);
  return sections.length === 0 ? null : new TextDecoder().decode(sections[0]);
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes as golden files write them: text if they are UTF-8, else hexadecimal. */
function bytesValue(bytes) {
  try {
    return { text: strictUtf8.decode(bytes.slice()) }; // a copy: decoders refuse shared memory
  } catch {
    let hex = "";
    for (const byte of bytes) hex += HEX[byte];
    return { hex };
  }
}

function bytesOf(source) {
  if (!ArrayBuffer.isView(source)) return new Uint8Array(source);
  return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
}

function base64(bytes) {
  const parts = [];
  for (let start = 0; start < bytes.length; start += 32768) {
    parts.push(String.fromCharCode(...bytes.subarray(start, start + 32768)));
  }
  return btoa(parts.join(""));
}

// SHA-256 (FIPS 180-4). The one of the platform answers later, when the bytes may be others, and only on secure pages.

const primes = [];
for (let n = 2; primes.length < 64; n += 1) if (primes.every((prime) => n % prime !== 0)) primes.push(n);
const fraction = (x) => Math.floor((x - Math.floor(x)) * 2 ** 32);
const START = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
const ROUND = Int32Array.from(primes, (prime) => fraction(Math.cbrt(prime)) | 0);

export function sha256(bytes) {
  const state = Int32Array.from(START, (word) => word | 0);
  const whole = bytes.length - (bytes.length % 64);
  const words = new Int32Array(64);
  hashBlocks(state, words, bytes, whole);
  const tail = new Uint8Array(bytes.length - whole < 56 ? 64 : 128);
  tail.set(bytes.subarray(whole));
  tail[bytes.length - whole] = 0x80;
  new DataView(tail.buffer).setBigUint64(tail.length - 8, BigInt(bytes.length) * 8n);
  hashBlocks(state, words, tail, tail.length);
  return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

function hashBlocks(state, words, bytes, end) {
  for (let offset = 0; offset < end; offset += 64) {
    for (let n = 0, at = offset; n < 16; n += 1, at += 4) {
      words[n] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
    }
    for (let n = 16; n < 64; n += 1) {
      const a = words[n - 15];
      const b = words[n - 2];
      const first = ((a >>> 7) | (a << 25)) ^ ((a >>> 18) | (a << 14)) ^ (a >>> 3);
      const second = ((b >>> 17) | (b << 15)) ^ ((b >>> 19) | (b << 13)) ^ (b >>> 10);
      words[n] = (words[n - 16] + first + words[n - 7] + second) | 0;
    }
    let a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (let n = 0; n < 64; n += 1) {
      const sum1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const one = (h + sum1 + ((e & f) ^ (~e & g)) + ROUND[n] + words[n]) | 0;
      const sum0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const two = (sum0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g; g = f; f = e; e = (d + one) | 0; d = c; c = b; b = a; a = (one + two) | 0;
    }
    state[0] += a; state[1] += b; state[2] += c; state[3] += d;
    state[4] += e; state[5] += f; state[6] += g; state[7] += h;
  }
}
