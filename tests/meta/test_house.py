"""Promises about the project's files: small, documented, at home on every machine, and strict about warnings."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
import warnings
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
PACKAGE = PROJECT / "refruntime"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAX_LINES = 300
LONGER = {
    "numerics/base.py": "one formula after the other, in the order of the contract",
    "numerics/compiled/loops.py": "loops that inline each other are compiled and kept as one file",
}
"""Files of the package that are longer than MAX_LINES, and why."""

LEFTOVERS = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
# Folders of one person or one machine; what follows tells them from a mere mention of the folder.
MACHINE_PATHS = re.compile(rb"(?<![\w./-])(?:/(?:home|Users|root|work|workspace|mnt|media)/\.?\w|[A-Z]:\\\\?Users\\)")


def tracked_files() -> list[Path]:
    """Return the files of the project: those that git tracks, or all outside tool folders where git is absent."""
    command = ["git", "-c", f"safe.directory={PROJECT}", "ls-files", "-z"]
    try:
        shown = subprocess.run(command, cwd=PROJECT, capture_output=True, check=True).stdout
        names = [name for name in shown.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        every = [path.relative_to(PROJECT) for path in PROJECT.rglob("*")]
        tool_folder = re.compile(r"^(\.(?!ci$|gitignore$).*|__pycache__|build|dist|.*\.egg-info)$")
        names = [str(path) for path in every if not any(tool_folder.match(part) for part in path.parts)]
    return sorted(PROJECT / name for name in names if (PROJECT / name).is_file())


TRACKED = tracked_files()


def relative(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def text_of(path: Path) -> str | None:
    """Return the text of a file, None for a binary one."""
    data = path.read_bytes()
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def undocumented(source: str) -> list[str]:
    """Return the public modules, classes and functions of a source text that have no docstring."""
    missing = []

    def visit(node: ast.Module | ast.ClassDef, prefix: str) -> None:
        if ast.get_docstring(node) is None:
            missing.append(prefix or "module")
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] != "_":
                name = f"{prefix}.{child.name}".lstrip(".")
                if isinstance(child, ast.ClassDef):
                    visit(child, name)
                elif ast.get_docstring(child) is None and not is_overload(child):
                    missing.append(name)

    visit(ast.parse(source), "")
    return missing


def is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(decorator).split(".")[-1] == "overload" for decorator in node.decorator_list)


def test_files_are_found() -> None:
    """The checks below look at the real project."""
    names = {relative(path) for path in TRACKED}
    assert {"pyproject.toml", "LICENSE", "refruntime/errors.py", "tests/conftest.py"} <= names
    assert len(MODULES) > 20


def test_modules_are_short() -> None:
    """One file has one job; beyond this length it has several."""
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    longer = {name.removeprefix("refruntime/"): length for name, length in lengths.items() if length > MAX_LINES}
    assert not {name: length for name, length in longer.items() if name not in LONGER}
    assert not [name for name in LONGER if name not in longer]


def test_public_names_have_docstrings() -> None:
    """Every public module, class, method and function of the package says what it is for."""
    missing = {relative(path): undocumented(path.read_text(encoding="utf-8")) for path in MODULES}
    assert not {name: names for name, names in missing.items() if names}


def test_every_test_has_a_docstring() -> None:
    """Every test says in one line what it pins, for the reader of a failure."""
    missing = []
    for path in sorted((PROJECT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_test = isinstance(node, ast.FunctionDef) and node.name.startswith("test")
            if isinstance(node, ast.FunctionDef) and is_test and ast.get_docstring(node) is None:
                missing.append(f"{relative(path)}:{node.lineno} {node.name}")
    assert not missing


def test_docstring_check_finds_what_is_missing() -> None:
    """The check itself is checked on a planted module."""
    source = (
        "class A:\n    'doc'\n    def b(self): ...\n    def _c(self): ...\n"
        "    @overload\n    def d(self): ...\n    class E: ...\ndef f(): 'doc'\ndef g(): ..."
    )
    assert undocumented(source) == ["module", "A.b", "A.E", "g"]
    assert undocumented("'doc'") == []


def test_no_leftover_markers() -> None:
    """What is not done is not promised in a comment."""
    found = [
        f"{relative(path)}:{number}"
        for path in TRACKED
        if path.name != "LICENSE" and (text := text_of(path)) is not None
        for number, line in enumerate(text.splitlines(), start=1)
        if LEFTOVERS.search(line)
    ]
    assert not found


def test_no_machine_paths() -> None:
    """No file, text or binary, names a folder that exists on one machine only."""
    found = [
        f"{relative(path)}: {match[0]!r}" for path in TRACKED if (match := MACHINE_PATHS.search(path.read_bytes()))
    ]
    here = str(PROJECT).encode()
    if len(PROJECT.parts) > 2:  # a checkout right below the root has a name too common to search for
        found += [f"{relative(path)}: names this checkout" for path in TRACKED if here in path.read_bytes()]
    assert not found


@pytest.mark.parametrize(
    ("text", "is_path"),
    [
        (b"see /home/" + b"someone/x", True),
        (b'"C:' + rb"\Users" + rb"\someone", True),
        (b"in /ro" + b"ot/.cache", True),
        (b"https://example.org/home/" + b"page", False),
        (b"the /home/ folder", False),
        (b"at (/Users/" + b"cache)", True),
    ],
)
def test_machine_path_pattern(text: bytes, is_path: bool) -> None:
    """The pattern itself is checked: paths are found, addresses and mentions are not."""
    assert bool(MACHINE_PATHS.search(text)) == is_path


def test_text_files_are_tidy() -> None:
    """Text has Unix line ends, ends with one, and has no trailing white space (Markdown included)."""
    found = []
    for path in TRACKED:
        text = text_of(path) if path.suffix in {".py", ".md", ".toml", ".rs", ".js", ".mjs", ".yml", ""} else None
        if text and path.name != "LICENSE":
            if "\r" in text or not text.endswith("\n") or text.endswith("\n\n"):
                found.append(f"{relative(path)}: line ends")
            found += [
                f"{relative(path)}:{number}: trailing white space"
                for number, line in enumerate(text.split("\n"), start=1)
                if line != line.rstrip()
            ]
    assert not found


def test_warnings_are_errors() -> None:
    """A warning fails a test, by configuration and in effect."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert settings["filterwarnings"][0] == "error"
    assert not [rule for rule in settings["filterwarnings"][1:] if rule.count(":") < 1], "name the warning to ignore"
    with pytest.raises(UserWarning):
        warnings.warn("a warning", UserWarning, stacklevel=1)
