"""Imports point one way, expected failures have one tree, and one module alone turns them into a status."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import refruntime
from refruntime.contract import Status
from refruntime.errors import ContractError
from tests.meta.import_rules import (
    INTERNAL,
    THIRD_PARTY,
    check_source,
    circles,
    failure_names,
    package_sources,
    part_of,
)

PACKAGE = Path(refruntime.__file__).parent
SOURCES = package_sources(PACKAGE)
FROM_TESTS = re.compile(r"^\s*(?:from|import)\s+tests\b", re.MULTILINE)
FAILURES = failure_names(SOURCES["refruntime.errors"])


def test_every_part_is_known() -> None:
    """A new folder or module of the package must be given its place in the table of arrows first."""
    assert {part_of(module) for module in SOURCES} <= set(INTERNAL)
    assert len(SOURCES) > 20


@pytest.mark.parametrize("folder", ["refruntime", "tools", "benchmarks"])
def test_nothing_but_tests_imports_tests(folder: str) -> None:
    """What runs or measures the project stands without its tests; a program that needs them stands among them."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted((PACKAGE.parent / folder).rglob("*.py"))}
    assert len(sources) > 5
    assert [str(path) for path, source in sources.items() if FROM_TESTS.search(source)] == []


def test_an_import_of_tests_is_found() -> None:
    """The pattern itself is checked, on the ways in which tests were once imported."""
    for line in ("from tests.support.x import y", "    from tests import guest", "import tests.guest.build"):
        assert FROM_TESTS.search(f"import sys\n{line}\n")
    assert not FROM_TESTS.search("import sys  # not from tests\nfrom testing import x\n")


def test_arrows_have_no_circle() -> None:
    """The table itself allows no circle: the parts can be put in an order in which each needs only earlier ones."""
    placed: set[str] = set()
    while remaining := set(INTERNAL) - placed:
        ready = {part for part in remaining if INTERNAL[part] <= placed}
        assert ready, f"these import each other: {sorted(remaining)}"
        placed |= ready


def test_files_have_no_circle() -> None:
    """No two files need each other, within a room or across rooms, imports for type checkers included."""
    assert circles(SOURCES) == set()


def test_circles_are_found() -> None:
    """A planted circle of three files is found, a chain is not one."""
    planted = {
        "refruntime.a": "from refruntime.b import x",
        "refruntime.b": "if TYPE_CHECKING:\n    from refruntime import c",
        "refruntime.c": "import refruntime.a",
        "refruntime.d": "from refruntime.a import x",
    }
    assert circles(planted) == {frozenset({"refruntime.a", "refruntime.b", "refruntime.c"})}


def test_every_module_keeps_the_rules() -> None:
    """Each module imports, catches and derives only what its part may."""
    findings = [finding for module in SOURCES for finding in check_source(module, SOURCES[module], FAILURES)]
    assert not findings, "\n" + "\n".join(map(str, findings))


def test_wasmtime_is_imported_in_one_file_alone() -> None:
    """One file bridges to wasmtime, so that one place masks and checks what its binding does not."""
    importing = re.compile(r"^\s*(import|from) wasmtime\b", re.MULTILINE)
    importers = [module for module, source in SOURCES.items() if importing.search(source)]
    assert importers == ["refruntime.engines.wasm.binding"]
    assert [part for part, packages in THIRD_PARTY.items() if "wasmtime" in packages] == ["engines"]


def test_each_failing_status_has_one_leaf() -> None:
    """The error tree has one class for each code but Ok, all direct children of the root, named like the code."""
    leaves = ContractError.__subclasses__()
    assert sorted((leaf.status, leaf.__name__) for leaf in leaves) == [(s, s.name) for s in Status if s]
    assert {leaf.__module__ for leaf in leaves} == {"refruntime.errors"}
    assert {leaf.__name__ for leaf in leaves} | {"ContractError"} == FAILURES


def test_no_module_extends_the_tree_at_run_time() -> None:
    """Also after everything that can be imported here was imported, the tree has its leaves and nothing else."""
    optional = {"wasmtime", "prompt_toolkit"}
    for module in SOURCES.keys() - {"refruntime.__main__"}:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name not in optional:
                raise
    leaves = ContractError.__subclasses__()
    assert {leaf.__module__ for leaf in leaves} == {"refruntime.errors"}
    assert not [child for leaf in leaves for child in leaf.__subclasses__()]


def test_importing_the_package_is_light() -> None:
    """`import refruntime` loads no NumPy, click or wasmtime."""
    program = (
        "import sys, refruntime; print(*sorted({'numpy', 'click', 'rich', 'wasmtime', 'gguf'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


def test_contract_needs_the_standard_library_only() -> None:
    """The contract, the errors and the trace events can be read where NumPy is not installed."""
    program = (
        "import sys; sys.modules['numpy'] = None\n"
        "import refruntime.contract.rules, refruntime.errors, refruntime.trace\n"
        "print(len(refruntime.contract.rules.load_rules()))"
    )
    shown = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert shown.returncode == 0, shown.stderr
    assert int(shown.stdout) > 90


BAD_SOURCES = [
    ("refruntime.contract.limits", "import numpy", "third-party package numpy"),
    ("refruntime.trace", "from refruntime.runtime import Runtime", "trace must not import runtime"),
    ("refruntime.containers.gguf", "from refruntime.model.load import x", "containers must not import model"),
    ("refruntime.containers.gguf", "from refruntime import model", "containers must not import model"),
    ("refruntime.containers.gguf", "import refruntime", "containers must not import refruntime"),
    ("refruntime.exports", "from refruntime import Profile", "exports must not import refruntime"),
    ("refruntime.quants.ggml", "import refruntime.numerics", "quants must not import numerics"),
    ("refruntime.model.load", "def f():\n    import wasmtime", "third-party package wasmtime"),
    ("refruntime.model.load", "if TYPE_CHECKING:\n    from refruntime.exports import X", "must not import exports"),
    ("refruntime.model.load", "from . import weights", "relative import"),
    ("refruntime.memory", "from refruntime.runtime import Runtime", "memory must not import runtime"),
    ("refruntime.runtime", "from refruntime.memory import Trap", "runtime must not import memory"),
    ("refruntime.runtime", "import pathlib", "must not know files"),
    ("refruntime.runtime", "from importlib import import_module", "must not know files"),
    ("refruntime.runtime", "import pytest", "third-party package pytest"),
    ("refruntime.runtime", "data = open('x').read()", "must not call open()"),
    ("refruntime.numerics.fast", "import os\nos.listdir('.')", "must not use os.listdir"),
    ("refruntime.numerics.fast", "from os import listdir", "must not take names from os"),
    ("refruntime.client", "from refruntime.runtime import Runtime", "client must not import runtime"),
    ("refruntime.engines.wasm", "from refruntime.cases import x", "engines must not import cases"),
    ("refruntime.cases.fill", "from refruntime.differential import x", "cases must not import differential"),
    ("refruntime.differential.run", "import click", "third-party package click"),
    ("refruntime.runtime", "try:\n    f()\nexcept ContractError:\n    pass", "must not catch ContractError"),
    (
        "refruntime.model.load",
        "try:\n    f()\nexcept errors.InvalidHeader as e:\n    x = e",
        "must not catch InvalidHeader",
    ),
    (
        "refruntime.cases.fill",
        "try:\n    f()\nexcept (ValueError, ShapeMismatch):\n    x = 1",
        "must not catch ShapeMismatch",
    ),
    ("refruntime.exports", "try:\n    f()\nexcept Exception:\n    pass", "must not catch everything"),
    ("refruntime.runtime", "try:\n    f()\nexcept:\n    pass", "must not catch everything"),
    ("refruntime.model.load", "class Broken(InvalidHeader):\n    pass", "extends the error tree"),
    ("refruntime.errors", "class Other(InvalidHeader):\n    pass", "derives from a leaf"),
]


@pytest.mark.parametrize(("module", "source", "expected"), BAD_SOURCES)
def test_checker_finds_what_is_forbidden(module: str, source: str, expected: str) -> None:
    """The checker itself is checked: one planted fault gives one finding that names it."""
    findings = check_source(module, source, FAILURES)
    assert len(findings) == 1, findings
    assert expected in str(findings[0])
    assert str(findings[0]).startswith(f"{module}:")


GOOD_SOURCES = [
    ("refruntime.containers.gguf", "import struct\nimport numpy as np\nfrom refruntime.errors import InvalidHeader"),
    ("refruntime.numerics.seq32", "import os\nthreads = os.cpu_count()"),
    ("refruntime.contract.rules", "from importlib import resources"),
    ("refruntime.exports", "try:\n    f()\nexcept ContractError as error:\n    status = error.status"),
    ("refruntime.runtime", "try:\n    f()\nexcept ContractError:\n    clear()\n    raise"),
    ("refruntime.differential.run", "from pathlib import Path\nfrom refruntime.client import Client"),
    ("refruntime.engines.wasm.binding", "import wasmtime"),
    ("refruntime.cli", "from refruntime import __version__, client"),
    ("refruntime.errors", "class InvalidHeader(ContractError):\n    pass"),
]


@pytest.mark.parametrize(("module", "source"), GOOD_SOURCES)
def test_checker_allows_what_is_allowed(module: str, source: str) -> None:
    """The checker does not flag what the rules allow."""
    assert check_source(module, source, FAILURES) == []
