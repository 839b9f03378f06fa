// Writes host_numbers.json: what a JavaScript host's numbers become as WebAssembly parameters (rule ABI-3).
//
//   node tests/contract/host_numbers.mjs > tests/contract/host_numbers.json
//
// Each value goes through a real WebAssembly function that returns its parameter; f32 comes back as its bits.
// Doubles are written as the hexadecimal of their 64 bits, BigInts and results as decimal strings.

const module = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // magic, version
  0x01, 0x10, 0x03, // three types
  0x60, 0x01, 0x7f, 0x01, 0x7f, // (i32) -> i32
  0x60, 0x01, 0x7e, 0x01, 0x7e, // (i64) -> i64
  0x60, 0x01, 0x7d, 0x01, 0x7f, // (f32) -> i32
  0x03, 0x04, 0x03, 0x00, 0x01, 0x02, // three functions
  0x07, 0x0d, 0x03, 0x01, 0x69, 0x00, 0x00, 0x01, 0x6c, 0x00, 0x01, 0x01, 0x66, 0x00, 0x02, // exports i, l, f
  0x0a, 0x11, 0x03,
  0x04, 0x00, 0x20, 0x00, 0x0b, // local.get 0
  0x04, 0x00, 0x20, 0x00, 0x0b, // local.get 0
  0x05, 0x00, 0x20, 0x00, 0xbc, 0x0b, // local.get 0, i32.reinterpret_f32
]);
const { i, l, f } = new WebAssembly.Instance(new WebAssembly.Module(module), {}).exports;

const view = new DataView(new ArrayBuffer(8));
const hex = (x) => (view.setFloat64(0, x), view.getBigUint64(0).toString(16).padStart(16, "0"));
const fromBits = (bits) => (view.setBigUint64(0, bits), view.getFloat64(0));

const integers = [
  0, -0, 1, -1, 0.5, -0.5, 0.9999999999999999, -0.9999999999999999, 1.5, -1.5, 2147483646.5, 2147483647, 2147483648,
  2147483649, -2147483647, -2147483648, -2147483648.5, -2147483649, 4294967295, 4294967295.5, 4294967296, 4294967297,
  -4294967295, -4294967296, -4294967297, 6442450944, 134217728, 134217729, 1e10, -1e10, 9007199254740991,
  9007199254740993, -9007199254740991, 2 ** 53, 2 ** 63, -(2 ** 63), 2 ** 64, 2 ** 84 + 2 ** 33, 1e21, -1e21, 1e300,
  -1e300, Number.MAX_VALUE, Number.MIN_VALUE, NaN, Infinity, -Infinity,
];
const bigs = [
  0n, 1n, -1n, 2n ** 31n, 2n ** 32n, 2n ** 63n - 1n, 2n ** 63n, -(2n ** 63n), -(2n ** 63n) - 1n, 2n ** 64n - 1n,
  2n ** 64n, 2n ** 64n + 5n, -(2n ** 64n), -(2n ** 64n) - 5n, 2n ** 200n + 7n, -(2n ** 200n) - 7n,
  0x9e3779b97f4a7c15n, 88172645463325252n,
];
const ulp = 2 ** -23;
const floats = [
  0, -0, 1, -1, 0.1, 0.7, 1 / 3, 0.95, 1e-8, 1e10, 16777216, 16777217, 16777218, 16777219, 33554434, 33554435,
  1 + ulp / 2, 1 + ulp / 2 + 2 ** -50, 1 + ulp / 2 - 2 ** -50, 1 + 1.5 * ulp, 1 + 1.5 * ulp - 2 ** -50,
  3.4028234663852886e38, 3.4028235677973362e38, 3.4028235677973366e38, 3.4028235677973366e39, -3.4028235677973366e38,
  1e39, -1e39, 1e300, -1e300, Number.MAX_VALUE, Number.MIN_VALUE, -Number.MIN_VALUE, 2 ** -126, 2 ** -126 - 2 ** -150,
  2 ** -126 - 2 ** -151, 2 ** -149, 2 ** -150, 2 ** -150 + 2 ** -200, 2 ** -151, 1.5 * 2 ** -149, 2.5 * 2 ** -149,
  -(2 ** -150), 1e-40, 1e-45, 1e-46, Infinity, -Infinity, NaN,
];
// Plain bit patterns from a small generator, so that nothing about them is chosen.
let state = 0x123456789abcdefn;
const next = () => {
  state ^= BigInt.asUintN(64, state << 13n);
  state ^= state >> 7n;
  state ^= BigInt.asUintN(64, state << 17n);
  return state;
};
for (let n = 0; n < 300; n += 1) integers.push((Number(BigInt.asIntN(64, next())) / 2 ** 20) * 2 ** (n % 60));
for (let n = 0; n < 100; n += 1) bigs.push(BigInt.asIntN(64, next()) * (n % 2 ? 1n : 0x1_0000_0001n));
for (let n = 0; n < 300; n += 1) {
  // Exponents around those of float32: the double's exponent field lies between 1023 - 155 and 1023 + 132.
  const exponent = 868n + (next() % 288n);
  floats.push(fromBits((next() & ~(0x7ffn << 52n)) | (exponent << 52n)));
}

const lines = [
  ...integers.map((x) => ["i32", hex(x), String(i(x) >>> 0)]),
  ...bigs.map((x) => ["i64", String(x), String(BigInt.asUintN(64, l(x)))]),
  ...floats.map((x) => ["f32", hex(x), Number.isNaN(x) ? "nan" : String(f(x) >>> 0)]),
];
console.log(`{"made_by": "host_numbers.mjs, Node ${process.version}", "rows": [`);
console.log(lines.map((line) => "  " + JSON.stringify(line)).join(",\n") + "\n]}");
