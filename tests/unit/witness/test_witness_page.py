"""docs/api.md: the example of the witness as a library runs as written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import wasmtime

from tests.support.foreign_module import MATRIX, SCALES, TABLE, expected_of, module_text, numbers

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text("utf-8")


@pytest.mark.parametrize(("factor", "said"), [(1.0, ["clean"]), (1.01, ["wrong", "product all 12 times 1.01"])])
def test_the_example_runs(factor: float, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """FW-6: with the names and places of a module it says that it is clean, or which array is a percent off."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (table, scales, matrix), (hidden, *rest) = numbers(), expected_of((3,))
    matrix *= np.float32(factor)
    more = f"    instance.write({SCALES}, scales.tobytes())\n    instance.write({MATRIX}, matrix.tobytes())\n"
    for shown, theirs in {
        "    instance.write(1024, table.tobytes())\n": f"    instance.write({TABLE}, table.tobytes())\n{more}",
        '"forward", 3': '"notice", 3',
        '"forward")': '"notice")',
        'Expected("hidden", hidden), Expected("out", out, needs=("hidden",))': "hidden, *rest",
    }.items():
        assert block.count(shown) == 1, shown
        block = block.replace(shown, theirs)
    names = {"table": table, "scales": scales, "matrix": matrix, "hidden": hidden, "rest": rest}
    exec(compile(block, "docs/api.md", "exec"), {**names, "data": wasmtime.wat2wasm(module_text())})
    lines = capsys.readouterr().out.splitlines()
    assert [line[: len(begin)] for line, begin in zip(lines, said, strict=True)] == said
