"""Write tests/second_opinion/vectors/ggml32.npz: rows, stored weights and dots by ggml's generic kernels.

    REFRUNTIME_SCALAR_GGML=/tmp/scalar-ggml/bin python -m tests.second_opinion.makers.ggml32.make_vectors

Needs the libraries that `tools/scalar_ggml/build.sh` builds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from refruntime.quants.ggml import GGML_TYPES
from tests.support.scalar_ggml import Q8_BYTES, VARIABLE, ScalarGgml, folder, random_rows, random_weights

ROWS, COLUMNS = 6, 512
TARGET = Path(__file__).parents[2] / "vectors/ggml32.npz"


def main() -> None:
    """Compute and write."""
    libraries = folder()
    if libraries is None:
        sys.exit(f"{VARIABLE} names no folder of libraries; tools/scalar_ggml/build.sh makes one")
    ggml, rows = ScalarGgml(libraries), random_rows(ROWS, COLUMNS, 1)
    arrays = {"rows": rows}
    inputs = {kind: ggml.quantize(kind, rows) for kind in Q8_BYTES}
    arrays |= {f"{kind}.quantized": raw for kind, raw in inputs.items()}
    for number, each in GGML_TYPES.items():
        if each.decode is None or each.block_size == 1:
            continue
        weights = random_weights(each.name, ROWS, COLUMNS, each.block_size, each.type_size, number)
        arrays[f"{each.name}.weights"] = weights
        arrays[f"{each.name}.dots"] = ggml.dots(number, weights, inputs[ggml.dot_type(number)], COLUMNS)
    np.savez_compressed(TARGET, **arrays)  # type: ignore[arg-type]  # names and arrays
    print(f"{TARGET}: {TARGET.stat().st_size} bytes, {len(arrays)} arrays")


if __name__ == "__main__":
    main()
