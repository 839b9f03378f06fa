// @ts-check
// Values of the golden format (FORMAT.md, section 2), and the two ways in which they can be wrong.

const MOST_LEVELS = 32; // of lists and objects in a golden
const MOST_VALUE_BYTES = 16777216; // of one value of bytes

/** An end of the whole run that is no verdict: a message for the user, and the exit code. */
export class ConsumeError extends Error {
  constructor(message, exitCode) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** A golden that does not follow FORMAT.md, although its hashes may fit. */
export class GoldenError extends Error {}

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

export const hashOf = (value) => sha256(new TextEncoder().encode(canonicalJson(value)));
const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
export const hex = (bytes) => bytes.reduce((text, byte) => text + DIGITS[byte], "");

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

export const inShort = (value) => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
};

export const isEither = (value) => Array.isArray(value?.either);
export const alternatives = (value) => (isEither(value) ? value.either.flatMap(alternatives) : [value]);

export const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
