// @ts-check
// Surface of the module (ABI-1, ABI-2): hosts do not tell the types of functions, so they are read from the bytes.

import { ConsumeError } from "./values.mjs";
import { shown } from "./words.mjs";

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
