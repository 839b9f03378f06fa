"""Build the Rust/WASM guest: the clean module, an option variant, or a seeded bug.

Standard library only. Needs a rustc that has the wasm32-unknown-unknown target and a WebAssembly linker of
the same LLVM generation (Debian: rustc, libstd-rust-dev-wasm32, lld).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

GUEST = Path(__file__).resolve().parent
TARGET = "wasm32-unknown-unknown"
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


class BuildError(Exception):
    """A tool is missing, a switch is wrong, or a tool failed."""


class SwitchError(BuildError):
    """An option or bug does not exist, or two options exclude each other."""


@dataclass(frozen=True)
class Toolchain:
    """A compiler with the wasm target, and a linker."""

    rustc: str
    linker: tuple[str, ...]
    version: str


@dataclass(frozen=True)
class Built:
    """One finished module."""

    path: Path
    sha256: str
    size: int
    options: tuple[str, ...]
    bugs: tuple[str, ...]
    compiler: str

    def as_json(self) -> dict[str, object]:
        """Return the record that is stored beside a module."""
        return {
            "file": self.path.name,
            "sha256": self.sha256,
            "size": self.size,
            "options": list(self.options),
            "bugs": list(self.bugs),
            "compiler": self.compiler,
        }


def load_options() -> dict[str, dict[str, str | None]]:
    """Return rule -> option text -> cfg name; the default option has no cfg name."""
    table: dict[str, dict[str, str | None]] = json.loads((GUEST / "options.json").read_text("utf-8"))
    return table


def load_bugs() -> dict[str, dict[str, str]]:
    """Return bug name -> family, rule and description."""
    table: dict[str, dict[str, str]] = json.loads((GUEST / "bugs.json").read_text("utf-8"))
    return table


def option_names() -> list[str]:
    """Return every option cfg name, sorted."""
    return sorted(cfg for texts in load_options().values() for cfg in texts.values() if cfg is not None)


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


def _output_of(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _has_target(rustc: str) -> bool:
    library = _output_of([rustc, "--print", "target-libdir", "--target", TARGET])
    return library is not None and any(Path(library).glob("libstd-*.rlib"))


def find_toolchain() -> Toolchain:
    """Find the first rustc with the wasm target ($RUSTC, /usr/bin, PATH) and a linker ($WASM_LD, wasm-ld, rust-lld).

    Raises BuildError when either is missing.
    """
    wanted = os.environ.get("RUSTC")
    candidates = [wanted] if wanted else ["/usr/bin/rustc", "rustc"]
    rustc = next((name for name in candidates if _has_target(name)), None)
    if rustc is None:
        raise BuildError(f"no rustc with the {TARGET} target among: {', '.join(candidates)} (set RUSTC)")
    version = _output_of([rustc, "--version"]) or "unknown"
    return Toolchain(rustc, _find_linker(rustc), version)


def _find_linker(rustc: str) -> tuple[str, ...]:
    named = os.environ.get("WASM_LD")
    if named:
        return (named,)
    # A compiler's own linker fits it best; Debian keeps it on PATH instead.
    sysroot = Path(_output_of([rustc, "--print", "sysroot"]) or "/nonexistent")
    own = sorted(sysroot.glob("lib/rustlib/*/bin/rust-lld"))
    if own:
        return (str(own[0]), "-flavor", "wasm")
    for name, flavor in (("wasm-ld", ()), ("rust-lld", ("-flavor", "wasm"))):
        path = shutil.which(name)
        if path is not None:
            return (path, *flavor)
    raise BuildError("no WebAssembly linker: install lld (wasm-ld) or set WASM_LD")


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{Path(command[0]).name} failed:\n{done.stderr.strip()}")
    if done.stderr.strip():
        print(done.stderr.strip(), file=sys.stderr)


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


def file_name(options: Sequence[str], bugs: Sequence[str]) -> str:
    """Return the default file name of a variant."""
    return "-".join(["guest", *(f"option-{name}" for name in options), *(f"bug-{name}" for name in bugs)]) + ".wasm"


def build(
    out: Path,
    *,
    options: Sequence[str] = (),
    bugs: Sequence[str] = (),
    embed_abi: bool = False,
    name: str | None = None,
    toolchain: Toolchain | None = None,
) -> Built:
    """Compile and link one module into directory `out`; raises BuildError."""
    _check_options(options)
    _check_names("bug", bugs, sorted(load_bugs()))
    tools = toolchain or find_toolchain()
    switches = [*(f'option="{item}"' for item in options), *(f'bug="{item}"' for item in bugs)]
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch) / "libguest.a"
        module = Path(scratch) / "guest.wasm"
        _run(
            [
                tools.rustc,
                str(GUEST / "src" / "lib.rs"),
                "--edition=2021",
                "--crate-name=guest",
                "--crate-type=staticlib",
                f"--target={TARGET}",
                "-Copt-level=3",
                "-Cpanic=abort",
                "-Clto=fat",
                "-Ccodegen-units=1",
                f"--remap-path-prefix={GUEST / 'src'}=guest",
                *(f"--cfg={switch}" for switch in switches),
                "-o",
                str(library),
            ]
        )
        _run(
            [
                *tools.linker,
                "--no-entry",
                "--gc-sections",
                "--strip-all",
                "--stack-first",
                "-zstack-size=1048576",
                *(f"--export={export}" for export in EXPORTS),
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
    path = out / (name or file_name(options, bugs))
    path.write_bytes(binary)
    return Built(path, hashlib.sha256(binary).hexdigest(), len(binary), tuple(options), tuple(bugs), tools.version)


def _check_names(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise SwitchError(f"unknown {kind} {name!r}; known: {', '.join(known)}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=GUEST, help="directory for the modules (default: beside this file)")
    parser.add_argument("--option", action="append", default=[], metavar="NAME", help="an option of options.json")
    parser.add_argument("--bug", action="append", default=[], metavar="NAME", help="a seeded bug of bugs.json")
    parser.add_argument("--all-options", action="store_true", help="one module for every option")
    parser.add_argument("--all-bugs", action="store_true", help="one module for every seeded bug")
    parser.add_argument("--embed-abi", action="store_true", help=f"add the custom section {ABI_SECTION}")
    parser.add_argument("--record", action="store_true", help="write MODULE.json beside every module")
    parser.add_argument("--json", action="store_true", help="print what was built as JSON")
    return parser.parse_args(arguments)


def _variants(arguments: argparse.Namespace) -> list[Mapping[str, Sequence[str]]]:
    variants: list[Mapping[str, Sequence[str]]] = []
    if arguments.all_options:
        variants += [{"options": [name]} for name in option_names()]
    if arguments.all_bugs:
        variants += [{"bugs": [name]} for name in sorted(load_bugs())]
    if arguments.option or arguments.bug or not variants:
        variants.append({"options": arguments.option, "bugs": arguments.bug})
    return variants


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what the command line asks for; 0 fine, 2 wrong switch, 3 missing tool or failed build."""
    parsed = _parse(arguments)
    try:
        tools = find_toolchain()

        def build_variant(variant: Mapping[str, Sequence[str]]) -> Built:
            return build(
                parsed.out,
                options=variant.get("options", ()),
                bugs=variant.get("bugs", ()),
                embed_abi=parsed.embed_abi,
                toolchain=tools,
            )

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            results = list(pool.map(build_variant, _variants(parsed)))
    except BuildError as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, SwitchError) else 3
    for built in results:
        if parsed.record:
            record = json.dumps(built.as_json(), indent=2) + "\n"
            built.path.with_name(built.path.name + ".json").write_text(record, "utf-8")
        if not parsed.json:
            print(f"{built.sha256}  {built.size:>7}  {built.path}")
    if parsed.json:
        print(json.dumps([{**built.as_json(), "path": str(built.path)} for built in results], indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
