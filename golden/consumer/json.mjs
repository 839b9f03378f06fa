// @ts-check
// Documents of the build: JSON.parse would lose `1.0` against `1`, and digits beyond 2^53.

const MOST_FIELD_CHARACTERS = 1 << 20; // no right diagnostics field comes near; longer ones are not sent around
const MOST_NESTING = 64; // of a diagnostics document; the contract's needs 2

/** A number as the build wrote it. Plain, because it travels between threads. */
export const isNumber = (value) => typeof value === "object" && value !== null && "number" in value;

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

/** Return the value of a document, undefined where it does not parse: objects as `{members}`, numbers as `{number}`. */
export function readJson(bytes) {
  try {
    const reader = new JsonReader(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
    const value = reader.value();
    reader.sign("");
    reader.must(reader.position === reader.text.length);
    return value;
  } catch {
    return undefined;
  }
}
