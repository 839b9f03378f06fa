"""Write tests/second_opinion/vectors/libm: inputs, and what Rust's libm returned for them in a real WASM module."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from wasm_libm import UNARY_FUNCTIONS, WasmLibm, build, compiler_version, find_compiler

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "libm"
SEED = 20240229
UNARY_COUNT = 8192
QUIET_NAN = np.uint32(0x7FC00000)

# Bit patterns of |x| where an algorithm changes its branch, and the ends of the number classes.
EDGES = {
    "all": (0x00000000, 0x00000001, 0x007FFFFF, 0x00800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000),
    "expf": (0x39000000, 0x3EB17218, 0x3F851592, 0x42AEAC50, 0x42B0C0A5, 0x42B17218, 0x42CFF1B5, 0x42CE8ED0),
    "tanhf": (0x33000000, 0x3E317218, 0x3E82C578, 0x3EB17218, 0x3F051592, 0x3F0C9F54, 0x41000000, 0x41200000),
    "trigonometric": (
        *(0x39800000, 0x3F490FDA, 0x3FC90FDB, 0x4016CBE3, 0x40490FDB, 0x407B53D1, 0x4096CBE4, 0x40AFEDDF),
        *(0x40C90FDB, 0x40E231D5, 0x4DC90FDB, 0x4E000000, 0x5A000000, 0x66000000, 0x72000000, 0x7E000000),
    ),
}
# The half-width of the arguments that a model really uses.
USUAL_RANGE = {"expf": 110.0, "tanhf": 12.0, "sinf": 4096.0, "cosf": 4096.0}

POWF_SPECIALS = (
    *(0.0, 1e-45, 1e-38, 1.17549435e-38, 0.5, 0.99999994, 1.0, 1.0000001, 1.5, 2.0, 3.0, 126.0, 128.0, 149.0, 150.0),
    *(2.0**23 + 1, 2.0**24 - 1, 2.0**24, 2.0**27, 2.0**27 + 16, 2.0**28, 1e30, 3.4028235e38, np.inf, np.nan),
)
ROPE_THETAS = (10000.0, 500000.0, 1000000.0)
ROPE_LARGEST_HEAD = 256


def unary_inputs(function: str, random: np.random.Generator) -> NDArray[np.float32]:
    """Return edges with their neighbours, every binade, and the usual range."""
    edges = (*EDGES["all"], *EDGES.get(function, EDGES["trigonometric"]))
    near = (np.array(edges, dtype=np.int64)[:, None] + np.arange(-8, 9)).reshape(-1)
    near = near[(near >= 0) & (near <= 0x7FC00008)].astype(np.uint32)
    edge_values = np.concatenate([near, near | np.uint32(0x80000000)]).view(np.float32)
    left = UNARY_COUNT - edge_values.size
    anywhere = random.integers(0, 2**32, left // 2, dtype=np.uint32).view(np.float32)
    usual = random.uniform(-1.0, 1.0, left - left // 2) * USUAL_RANGE[function]
    # Half of the usual arguments are spread evenly over the binades near 1, where the branches are.
    usual[::2] = np.exp2(random.uniform(-14.0, 6.0, usual[::2].size)) * np.sign(usual[::2])
    return np.concatenate([edge_values, anywhere, usual.astype(np.float32)])


def powf_inputs(random: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return special pairs, random bits, results near overflow and underflow, bases near 1, negative bases."""
    specials = np.array([*POWF_SPECIALS, *(-value for value in POWF_SPECIALS)], dtype=np.float32)
    pairs = [tuple(grid.reshape(-1) for grid in np.meshgrid(specials, specials))]
    bits = [random.integers(0, 2**32, 1024, dtype=np.uint32).view(np.float32) for _ in range(2)]
    pairs.append((bits[0], bits[1]))
    base = np.exp2(random.uniform(-149.0, 128.0, 2048)).astype(np.float32)
    pairs.append((base, random.uniform(-4.0, 4.0, 2048).astype(np.float32)))
    target = random.choice([128.0, -126.0, -149.0, -150.0], 1024) + random.uniform(-1e-4, 1e-4, 1024)
    base = np.exp2(random.uniform(-20.0, 20.0, 1024)).astype(np.float32)
    pairs.append((base, (target / np.log2(base.astype(np.float64))).astype(np.float32)))
    near_one = (random.integers(-12, 13, 1024) + 0x3F800000).astype(np.uint32).view(np.float32)
    pairs.append(
        (near_one, (np.exp2(random.uniform(20.0, 34.0, 1024)) * random.choice([-1, 1], 1024)).astype(np.float32))
    )
    negative = -random.uniform(0.0, 30.0, 1024).astype(np.float32)
    pairs.append((negative, random.integers(-30, 31, 1024).astype(np.float32)))
    return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])


def rope_inputs() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return powf(theta, (2 i) / D) for every head size D up to 256 and every pair i (FW-5)."""
    exponents = np.concatenate(
        [np.arange(0, head, 2, dtype=np.float32) / np.float32(head) for head in range(2, ROPE_LARGEST_HEAD + 1, 2)]
    )
    exponents = np.unique(exponents)
    bases = np.repeat(np.array(ROPE_THETAS, dtype=np.float32), exponents.size)
    return bases, np.tile(exponents, len(ROPE_THETAS))


def write(name: str, libm: WasmLibm, function: str, *arguments: NDArray[np.float32]) -> None:
    """Run the function and store arguments and result as bit patterns; every NaN result as the same quiet NaN."""
    result = libm(function, *arguments)
    result_bits = np.where(np.isnan(result), QUIET_NAN, result.view(np.uint32))
    named = {argument: values.view(np.uint32) for argument, values in zip("xy", arguments, strict=False)}
    np.savez_compressed(VECTORS / f"{name}.npz", **named, result=result_bits)
    print(f"{name}: {result.size} inputs")


def main() -> None:
    """Build the probe, run it, write one file per function."""
    compiler = find_compiler()
    print(compiler_version(compiler))
    VECTORS.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "libm_probe.wasm"
        build(compiler, module)
        libm = WasmLibm(module)
    for function in UNARY_FUNCTIONS:
        write(function, libm, function, unary_inputs(function, random))
    write("powf", libm, "powf", *powf_inputs(random))
    write("powf_rope", libm, "powf", *rope_inputs())


if __name__ == "__main__":
    main()
