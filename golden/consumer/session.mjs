// @ts-check
// A session with the build, in the worker (FORMAT.md, section 7, step 5).

import { readDiagnostics } from "./dialect.mjs";
import { GoldenError, bytesOf, floatOf, inShort } from "./values.mjs";

const MOST_TEXT_BYTES = 16777216; // result text and diagnostics document (section 7, 5.3)

class Trap extends Error {}
class BuildError extends Error {}

export class Session {
  constructor(module, settings, steps, announce) {
    this.settings = settings;
    this.announce = announce;
    this.names = new Set(steps.map((step) => step.bind).filter(Boolean));
    this.bound = {};
    announce("instantiation");
    /** @type {Record<string, any>} */
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
