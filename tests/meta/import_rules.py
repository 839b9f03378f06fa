"""Which part of the package may import what, and a checker that reads the imports from source text."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = "refruntime"

# Each set holds the parts on which the next ones may rest. Arrows point down only.
FOUNDATION = {"contract", "errors", "trace"}
FORMATS = FOUNDATION | {"string_table", "machine_code", "containers", "quants", "numerics"}
PIECES = FORMATS | {"model", "sampling", "tokenizers", "diagnostics", "utf8"}
ORACLE = PIECES | {"runtime", "memory", "host_numbers", "exports", "inspection"}
CALLING = ORACLE | {"memory_limit", "instrument", "engines", "client", "cases"}
COMPARISON = CALLING | {
    "atomic",
    "foreign",
    "visible",
    "display",
    "keywords",
    "resources",
    "artifact",
    "api",
    "embeddings",
    "convert",
    "chat",
    "fidelity",
    "battery",
    "differential",
    "golden",
    "recordings",
    "hypotheses",
    "witness",
    "judge",
}
SESSIONS = COMPARISON | {"fuzz", "session", "samplers", "identify", "campaign"}
SHOWN = SESSIONS | {"show"}
TOP = SHOWN | {"commands", "repl", "cli", "pytest_plugin"}

INTERNAL: dict[str, set[str]] = {
    "contract": set(),
    "resources": set(),
    "trace": set(),
    "visible": set(),
    "foreign": set(),
    "display": set(),
    "keywords": set(),
    "errors": {"contract"},
    "memory_limit": {"errors"},
    "machine_code": {"resources"},
    "numerics": FOUNDATION | {"machine_code", "quants"},
    "quants": FOUNDATION | {"machine_code"},
    "string_table": set(),
    "containers": FOUNDATION | {"string_table", "machine_code", "quants"},
    "tokenizers": FOUNDATION | {"string_table"},
    "sampling": FOUNDATION | {"numerics"},
    "model": FORMATS | {"tokenizers", "memory_limit", "foreign"},
    "diagnostics": FOUNDATION | {"numerics", "sampling"},
    "utf8": FOUNDATION,
    "runtime": PIECES,
    "host_numbers": set(),
    "memory": {"contract", "errors"},
    "exports": FOUNDATION | {"numerics", "runtime", "memory", "host_numbers"},
    "inspection": PIECES,
    "atomic": set(),
    "artifact": {"model", "resources"},
    "api": PIECES | {"runtime", "inspection", "keywords", "resources", "artifact"},
    "embeddings": PIECES | {"api"},
    "convert": PIECES | {"atomic"},
    "chat": PIECES | {"api"},
    "fidelity": PIECES,
    "instrument": set(),
    "engines": FOUNDATION | {"numerics", "memory", "host_numbers", "exports", "instrument"},
    "client": {"contract", "engines"},
    "cases": ORACLE | {"engines", "client"},
    "battery": CALLING | {"resources", "golden"},
    "differential": CALLING | {"resources"},
    "golden": CALLING | {"atomic", "differential"},
    "recordings": CALLING | {"differential", "golden"},
    "hypotheses": CALLING | {"differential", "battery"},
    "witness": CALLING | {"api"},
    "samplers": FOUNDATION | {"display", "sampling", "numerics"},
    "session": COMPARISON | {"samplers"},
    "judge": PIECES | {"engines", "visible", "fidelity", "witness", "samplers"},
    "identify": COMPARISON,
    "fuzz": COMPARISON,
    "campaign": COMPARISON | {"fuzz", "identify"},
    "show": SESSIONS,
    "repl": SHOWN,
    "commands": SHOWN | {"repl"},
    "cli": SHOWN | {"repl", "commands"},
    "pytest_plugin": COMPARISON,
    "__main__": {"cli"},
    "": TOP,  # the package's own __init__: public names
}

USERS = {
    "session",
    "samplers",
    "show",
    "repl",
    "commands",
    "cli",
    "pytest_plugin",
}  # they may take the public names from the package itself

ARRAYS = {"numpy"}
THIRD_PARTY: dict[str, set[str]] = {
    "machine_code": ARRAYS | {"llvmlite", "numba"},
    "numerics": ARRAYS | {"numba", "threadpoolctl"},
    "quants": ARRAYS | {"gguf", "llvmlite", "numba"},
    "string_table": ARRAYS,
    "containers": ARRAYS | {"gguf", "numba"},
    "tokenizers": ARRAYS,
    "sampling": ARRAYS,
    "identify": ARRAYS,
    "model": ARRAYS,
    "diagnostics": ARRAYS,
    "runtime": ARRAYS,
    "host_numbers": ARRAYS,
    "memory": ARRAYS,
    "exports": ARRAYS,
    "inspection": ARRAYS,
    "api": ARRAYS,
    "embeddings": ARRAYS,
    "convert": ARRAYS | {"gguf"},
    "fidelity": ARRAYS | {"gguf"},
    "chat": {"jinja2"},
    "engines": ARRAYS | {"wasmtime"},
    "client": ARRAYS,
    "cases": ARRAYS,
    "battery": ARRAYS,
    "differential": ARRAYS,
    "golden": ARRAYS | {"gguf"},
    "recordings": ARRAYS,
    "hypotheses": ARRAYS,
    "witness": ARRAYS,
    "judge": ARRAYS,
    "session": ARRAYS,
    "samplers": ARRAYS,
    "fuzz": ARRAYS | {"hypothesis"},
    "campaign": {"distributed"},
    "show": ARRAYS | {"rich", "matplotlib"},
    "repl": ARRAYS | {"click", "rich", "prompt_toolkit"},
    "commands": ARRAYS | {"click", "rich"},
    "cli": {"click", "rich"},
    "pytest_plugin": {"pytest"},
}

# Nothing below `engines` knows files, processes or the network: it is given bytes and gives bytes.
KNOWS_NO_FILES = (FOUNDATION | PIECES | ORACLE | {"instrument"}) - {"machine_code"}  # which keeps what was compiled
OUTSIDE_WORLD = {
    *("pathlib", "io", "shutil", "tempfile", "glob", "fileinput", "subprocess", "multiprocessing", "socket", "ssl"),
    *(
        "urllib",
        "http",
        "sqlite3",
        "pickle",
        "shelve",
        "zipfile",
        "tarfile",
        "gzip",
        "logging",
        "argparse",
        "importlib",
    ),
}
HARMLESS_OS_NAMES = {"cpu_count", "process_cpu_count", "sched_getaffinity"}
EXCEPTIONS_TO_OUTSIDE_WORLD = {
    ("contract", "importlib"),
    ("tokenizers", "importlib"),
}  # data files of the package itself

# exports makes a status of a failure; api, inspection, identify and the command line make a result or a report of it.
MAY_CATCH_FAILURES = {"exports", "api", "inspection", "identify", "session", "repl", "commands", "cli"}
MAY_CATCH_EVERYTHING = {
    "cases",
    "campaign",
    "chat",
    "differential",
    "golden",
    "hypotheses",
    "repl",
    "commands",
    "cli",
    "pytest_plugin",
}


@dataclass(frozen=True)
class Finding:
    """One broken rule: `place` is file and line."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@cache
def parsed(source: str) -> ast.Module:
    """Read a source text once, whatever is asked of it."""
    return ast.parse(source)


def part_of(module: str) -> str:
    """Return the part of the package that a dotted module name belongs to, '' for the package itself."""
    return module.split(".")[1] if "." in module else ""


def failure_names(errors_source: str) -> set[str]:
    """Return the names of the error tree: its root and every class that derives from it."""
    names = {"ContractError"}
    for node in parsed(errors_source).body:
        if isinstance(node, ast.ClassDef) and any(
            isinstance(base, ast.Name) and base.id in names for base in node.bases
        ):
            names.add(node.name)
    return names


def check_source(module: str, source: str, failures: set[str]) -> list[Finding]:
    """Return everything in one module that the rules above forbid."""
    tree = parsed(source)
    findings = []
    for node in ast.walk(tree):
        place = f"{module}:{getattr(node, 'lineno', 0)}"
        texts: Iterator[str] = iter(())
        if isinstance(node, ast.Import | ast.ImportFrom):
            texts = check_import(module, node)
        elif isinstance(node, ast.Call):
            texts = check_call(part_of(module), node)
        elif isinstance(node, ast.Attribute):
            texts = check_os(part_of(module), node)
        elif isinstance(node, ast.ExceptHandler):
            texts = check_handler(part_of(module), node, failures)
        elif isinstance(node, ast.ClassDef):
            texts = check_class(part_of(module), node, failures)
        findings.extend(Finding(place, text) for text in texts)
    return findings


def check_import(module: str, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    part = part_of(module)
    if isinstance(node, ast.ImportFrom) and node.level:
        yield "a relative import; name the module in full"
        return
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    if isinstance(node, ast.ImportFrom) and names == [PACKAGE]:  # `from refruntime import model`: a part or a name
        names = [f"{PACKAGE}.{alias.name}" if alias.name in INTERNAL else PACKAGE for alias in node.names]
    for name in names:
        top = name.split(".")[0]
        if top == PACKAGE:
            target = part_of(name)
            allowed = INTERNAL.get(part, set()) | ({""} if part in USERS else set())
            if target not in allowed | {part}:
                yield f"{part or PACKAGE} must not import {target or PACKAGE}"
        elif top not in sys.stdlib_module_names:
            if top not in THIRD_PARTY.get(part, set()):
                yield f"{part or PACKAGE} must not import the third-party package {top}"
        elif part in KNOWS_NO_FILES and top in OUTSIDE_WORLD and (part, top) not in EXCEPTIONS_TO_OUTSIDE_WORLD:
            yield f"{part} must not know files, processes or modules by name: {top}"
        elif part in KNOWS_NO_FILES and top == "os" and isinstance(node, ast.ImportFrom):
            yield f"{part} must not take names from os; write os.cpu_count()"


def check_call(part: str, node: ast.Call) -> Iterator[str]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if part in KNOWS_NO_FILES and name in {"open", "print", "input", "exec", "eval", "__import__"}:
        yield f"{part} must not call {name}()"


def check_os(part: str, node: ast.Attribute) -> Iterator[str]:
    is_os = isinstance(node.value, ast.Name) and node.value.id == "os"
    if part in KNOWS_NO_FILES and is_os and node.attr not in HARMLESS_OS_NAMES:
        yield f"{part} must not use os.{node.attr}"


def check_handler(part: str, node: ast.ExceptHandler, failures: set[str]) -> Iterator[str]:
    """A failure becomes a status in one place only; to clean up and raise it again is fine everywhere."""
    last = node.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return
    caught = [node.type] if not isinstance(node.type, ast.Tuple) else node.type.elts
    names = {"" if expression is None else ast.unparse(expression).split(".")[-1] for expression in caught}
    if names & failures and part not in MAY_CATCH_FAILURES:
        yield f"{part} must not catch {', '.join(sorted(names & failures))}: exports turns it into a status"
    if names & {"", "Exception", "BaseException"} and part not in MAY_CATCH_EVERYTHING:
        yield f"{part} must not catch everything: a bug must not look like an expected failure"


def check_class(part: str, node: ast.ClassDef, failures: set[str]) -> Iterator[str]:
    bases = {ast.unparse(base).split(".")[-1] for base in node.bases}
    if part != "errors" and bases & failures:
        yield f"{node.name} extends the error tree; its leaves live in errors"
    if part == "errors" and bases & (failures - {"ContractError"}):
        yield f"{node.name} derives from a leaf; a leaf has one status"


def circles(sources: dict[str, str]) -> set[frozenset[str]]:
    """Return every set of modules that import each other, imports for type checkers included."""
    imports = {module: set(imported_modules(parsed(text), sources)) - {module} for module, text in sources.items()}
    reached = {module: reachable(module, imports) for module in imports}
    groups = {frozenset(m for m in reached[module] if module in reached[m]) for module in imports}
    return {group for group in groups if len(group) > 1}


def imported_modules(tree: ast.Module, sources: dict[str, str]) -> Iterator[str]:
    """Yield the modules of the package that a source imports; a package whose name alone is taken counts itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            full_names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from full_names & set(sources) or {str(node.module)}
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & set(sources)


def reachable(start: str, imports: dict[str, set[str]]) -> set[str]:
    """Return what can be reached from a module by its imports and theirs."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        new = imports.get(waiting.pop(), set()) - reached
        reached |= new
        waiting.extend(new)
    return reached


def package_sources(package: Path) -> dict[str, str]:
    """Return the source text of every module of the package, by dotted name."""
    sources = {}
    for path in sorted(package.rglob("*.py")):
        names = [package.name, *path.relative_to(package).with_suffix("").parts]
        sources[".".join(names[:-1] if names[-1] == "__init__" else names)] = path.read_text(encoding="utf-8")
    return sources
