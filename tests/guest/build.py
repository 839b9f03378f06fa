"""Build the Rust/WASM guest: the clean module, an option variant, a strange dialect, or a seeded bug.

Standard library only. Needs a rustc that has the wasm32-unknown-unknown target and a WebAssembly linker of
the same LLVM generation (Debian: rustc, libstd-rust-dev-wasm32, lld).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__:
    from tests.guest.dialects import PUBLISHED, Dialect, DialectError
    from tests.guest.toolchain import TARGET, BuildError, Toolchain, find_toolchain, run
else:  # run as a script
    from dialects import PUBLISHED, Dialect, DialectError
    from toolchain import TARGET, BuildError, Toolchain, find_toolchain, run

GUEST = Path(__file__).resolve().parent
CONTRACT_VERSION = "0.1.0"
ABI_SECTION = "tinyrustlm.abi"
EXPORTS = (
    "alloc",
    "dealloc",
    "init_runtime",
    "load_model",
    "set_sampling_config",
    "generate",
    "generate_next_token",
    "last_result_ptr",
    "last_result_len",
    "get_diagnostics_ptr",
    "get_diagnostics_len",
    "reset_context",
    "free_model",
)


PROBE_EXPORTS = ("probe_ptr", "probe_len", "probe_clear")
"""What a build with a probe has besides: a record of its tensors, for the tests of the guest alone."""
GROUPS = ("practice", "exam")
"""Groups of unknown bugs that have a table of their own."""
LONGEST_NAME = 120
"""Characters of a file name that says every switch; a file system takes 255 bytes."""


class SwitchError(BuildError):
    """An option or bug does not exist, or two options exclude each other."""


@dataclass(frozen=True)
class Built:
    """One finished module."""

    path: Path
    sha256: str
    size: int
    options: tuple[str, ...]
    bugs: tuple[str, ...]
    compiler: str
    dialect: Dialect = PUBLISHED

    def as_json(self) -> dict[str, object]:
        """Return the record that is stored beside a module."""
        return {
            "file": self.path.name,
            "sha256": self.sha256,
            "size": self.size,
            "options": list(self.options),
            "bugs": list(self.bugs),
            "compiler": self.compiler,
            **({"dialect": self.dialect.texts} if self.dialect.texts else {}),
        }


def load_options() -> dict[str, dict[str, str | None]]:
    """Return rule -> option text -> cfg name; the default option has no cfg name."""
    table: dict[str, dict[str, str | None]] = json.loads((GUEST / "options.json").read_text("utf-8"))
    return table


def load_bugs() -> dict[str, dict[str, str]]:
    """Return bug name -> family, rule and description."""
    table: dict[str, dict[str, str]] = json.loads((GUEST / "bugs.json").read_text("utf-8"))
    return table


def load_unknown_bugs(group: str | None = None) -> dict[str, dict[str, str]]:
    """Return name -> description of every bug that no catalogue of hypotheses may know, of one group (GROUPS) or none.

    The groups were written after the witness: one to practise on, one that nobody looks at who changes it.
    """
    name = "unknown_bugs.json" if group is None else f"unknown_bugs_{group}.json"
    table: dict[str, dict[str, str]] = json.loads((GUEST / name).read_text("utf-8"))
    return table


def every_unknown_bug() -> dict[str, dict[str, str]]:
    """Return those of all groups and of none."""
    return {name: bug for group in (None, *GROUPS) for name, bug in load_unknown_bugs(group).items()}


def option_names() -> list[str]:
    """Return every option cfg name, sorted."""
    return sorted(cfg for texts in load_options().values() for cfg in texts.values() if cfg is not None)


def with_architectures(options: Sequence[str], dialect: Dialect) -> Dialect:
    """Return a dialect with the architectures in which alone some of these options show; an option brings its own."""
    chosen = {rule for rule, texts in load_options().items() if set(texts.values()) & set(options)}
    return dialect.with_architectures_of(chosen)


def declared_choices(options: Sequence[str]) -> dict[str, object]:
    """Return what a module built with these options declares: profile key -> value (the defaults are left out)."""
    table: dict[str, dict[str, object]] = json.loads((GUEST / "declared.json").read_text("utf-8"))
    return {key: value for option in options for key, value in table[option].items()}


def _check_options(options: Sequence[str]) -> None:
    """Refuse unknown options, and two of one rule."""
    _check_names("option", options, option_names())
    for rule, texts in load_options().items():
        active = [text for text, cfg in texts.items() if cfg in options]
        if len(active) > 1:
            raise SwitchError(f"rule {rule}: only one option can hold, got {', '.join(active)}")


def _leb128(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def custom_section(name: str, payload: bytes) -> bytes:
    """Return a wasm custom section (id 0) of this name."""
    body = _leb128(len(name)) + name.encode() + payload
    return b"\x00" + _leb128(len(body)) + body


def file_name(
    options: Sequence[str], bugs: Sequence[str], dialect: Dialect = PUBLISHED, opt_level: str = "3", simd: bool = False
) -> str:
    """Return the default file name of a variant; one of many switches is named by their number and a hash."""
    parts = ["guest", *(f"option-{name}" for name in options), *(f"bug-{name}" for name in bugs)]
    parts += [text.replace("=", "-") for text in dialect.texts]
    parts += [f"O{opt_level}"] * (opt_level != "3") + ["simd"] * simd
    name = "-".join(parts)
    if len(name) > LONGEST_NAME:
        name = f"guest-{len(parts) - 1}-switches-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name + ".wasm"


def build(
    out: Path,
    *,
    options: Sequence[str] = (),
    bugs: Sequence[str] = (),
    dialect: Dialect = PUBLISHED,
    opt_level: str = "3",
    simd: bool = False,
    probe: bool = False,
    embed_abi: bool = False,
    name: str | None = None,
    incremental: Path | None = None,
    toolchain: Toolchain | None = None,
    source: Path = GUEST / "src",
) -> Built:
    """Compile and link one module into directory `out`; raises BuildError.

    `bugs` are names of bugs.json or of a table of unknown bugs. With `probe` the module records its tensors.
    `opt_level` "0" compiles in a fourth of the time what runs slower, with the same bits. `incremental` names a
    directory that keeps what one build has in common with the next: a few times faster, and the same bits when it runs,
    but other bytes than a build in one piece. One build at a time may use it. `source` has other Rust files than `src`.
    """
    _check_options(options)
    _check_names("bug", bugs, sorted({**load_bugs(), **every_unknown_bug()}))
    tools = toolchain or find_toolchain()
    known = load_bugs()
    whole_dialect = with_architectures(options, dialect)
    switches = [f'option="{item}"' for item in options] + ["probe"] * probe + whole_dialect.switches
    switches += [f'bug="{item}"' if item in known else f'unknown="{item}"' for item in bugs]
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("GUEST_")
    } | whole_dialect.environment
    whole = ["-Clto=fat", "-Ccodegen-units=1"] if incremental is None else [f"-Cincremental={incremental}"]
    whole = ["-Cdebug-assertions=off", "-Coverflow-checks=off"] if opt_level == "0" else whole
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch) / "libguest.a"
        module = Path(scratch) / "guest.wasm"
        run(
            [
                tools.rustc,
                str(source / "lib.rs"),
                "--edition=2021",
                "--crate-name=guest",
                "--crate-type=staticlib",
                f"--target={TARGET}",
                f"-Copt-level={opt_level}",
                "-Cpanic=abort",
                *whole,
                *(["-Ctarget-feature=+simd128"] if simd or dialect.all("vector") else []),
                f"--remap-path-prefix={source}=guest",
                *(f"--cfg={switch}" for switch in switches),
                "-o",
                str(library),
            ],
            environment,
        )
        run(
            [
                *tools.linker,
                "--no-entry",
                "--gc-sections",
                "--strip-all",
                "--stack-first",
                "-zstack-size=1048576",
                *(f"--export={export}" for export in (*EXPORTS, *(PROBE_EXPORTS if probe else ()))),
                str(library),
                "-o",
                str(module),
            ]
        )
        binary = module.read_bytes()
    if embed_abi:
        document = {"contract": CONTRACT_VERSION, "profile": declared_choices(options)}
        binary += custom_section(ABI_SECTION, json.dumps(document, sort_keys=True).encode())
    out.mkdir(parents=True, exist_ok=True)
    path = out / (name or file_name(options, bugs, dialect, opt_level, simd))
    path.write_bytes(binary)
    digest = hashlib.sha256(binary).hexdigest()
    return Built(path, digest, len(binary), tuple(options), tuple(bugs), tools.version, dialect)


def _check_names(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise SwitchError(f"unknown {kind} {name!r}; known: {', '.join(known)}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=GUEST, help="directory for the modules (default: beside this file)")
    parser.add_argument("--option", action="append", default=[], metavar="NAME", help="an option of options.json")
    parser.add_argument(
        "--bug", action="append", default=[], metavar="NAME", help="a bug of bugs.json or of a table of unknown bugs"
    )
    parser.add_argument("--all-options", action="store_true", help="one module for every option")
    parser.add_argument("--all-bugs", action="store_true", help="one module for every seeded bug")
    parser.add_argument("--dialect", action="append", default=[], metavar="GROUP=NAME", help="a row of dialects.json")
    parser.add_argument(
        "--opt-level", choices=("0", "1", "2", "3", "s"), default="3", help="of the compiler (default: 3)"
    )
    parser.add_argument("--simd", action="store_true", help="allow the compiler 128-bit vector instructions")
    parser.add_argument("--stored", action="store_true", help="build what is stored here again, with its records")
    parser.add_argument("--embed-abi", action="store_true", help=f"add the custom section {ABI_SECTION}")
    parser.add_argument("--record", action="store_true", help="write MODULE.json beside every module")
    parser.add_argument("--json", action="store_true", help="print what was built as JSON")
    return parser.parse_args(arguments)


def _variants(arguments: argparse.Namespace) -> list[Mapping[str, Any]]:
    variants: list[Mapping[str, Any]] = []
    if arguments.all_options:
        variants += [{"options": [name]} for name in option_names()]
    if arguments.all_bugs:
        variants += [{"bugs": [name]} for name in sorted(load_bugs())]
    if arguments.stored:
        for path in sorted(GUEST.glob("**/*.wasm.json")):
            record = json.loads(path.read_text("utf-8"))
            dialect = Dialect.of(record.get("dialect", ()))
            variants.append(
                {"options": record["options"], "bugs": record["bugs"], "dialect": dialect, "out": path.parent}
            )
    if arguments.option or arguments.bug or arguments.dialect or not variants:
        variants.append({"options": arguments.option, "bugs": arguments.bug})
    return variants


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what the command line asks for; 0 fine, 2 wrong switch, 3 missing tool or failed build."""
    parsed = _parse(arguments)
    try:
        tools = find_toolchain()

        dialect = Dialect.of(parsed.dialect)

        def build_variant(variant: Mapping[str, Any]) -> Built:
            return build(
                variant.get("out", parsed.out),
                options=variant.get("options", ()),
                bugs=variant.get("bugs", ()),
                dialect=variant.get("dialect", dialect),
                opt_level=parsed.opt_level,
                simd=parsed.simd,
                embed_abi=parsed.embed_abi,
                toolchain=tools,
            )

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            results = list(pool.map(build_variant, _variants(parsed)))
    except (BuildError, DialectError) as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, (SwitchError, DialectError)) else 3
    for built in results:
        if parsed.record or parsed.stored:
            record = json.dumps(built.as_json(), indent=2) + "\n"
            built.path.with_name(built.path.name + ".json").write_text(record, "utf-8")
        if not parsed.json:
            print(f"{built.sha256}  {built.size:>7}  {built.path}")
    if parsed.json:
        print(json.dumps([{**built.as_json(), "path": str(built.path)} for built in results], indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
