"""Build random legal combinations: contract options, a dialect, missing features, an optimisation level, one bug.

    python tests/guest/random_builds.py --random 200 --seed 7 --out DIR [--with-bug known] [--architectures]
    python tests/guest/random_builds.py --each-option --out DIR     # the clean build, and one more for every option

Beside every module stands its truth, MODULE.json. A module is named by what it is made of, so what is there already is
not built again. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if __package__:
    from tests.guest import build
    from tests.guest.dialects import CHECKSUM_GROUPS, PUBLISHED, Dialect, DialectError, load_dialects, names_of
else:  # run as a script
    import build
    from dialects import CHECKSUM_GROUPS, PUBLISHED, Dialect, DialectError, load_dialects, names_of

OPT_LEVELS = ("1",) * 12 + ("2", "3", "s")
"""The levels that random builds are made with, the quickest most often."""
UNFIT = ("behaviour=", "comparison=truncated")
"""What no clean build has: each makes a module that is wrong on purpose."""


@dataclass(frozen=True)
class Variant:
    """What a module is made of."""

    options: tuple[str, ...] = ()
    dialect: Dialect = PUBLISHED
    bug: str | None = None
    opt_level: str = "1"
    simd: bool = False
    probe: bool = False

    def truth(self) -> dict[str, Any]:
        """Return what a tool should find out about the module."""
        texts = {
            rule: text
            for rule, table in build.load_options().items()
            for text, cfg in table.items()
            if cfg in self.options
        }
        return {
            "options": texts,
            "switches": list(self.options),
            "declared": build.declared_choices(self.options),
            **build.with_architectures(self.options, self.dialect).truth(),
            "bug": None if self.bug is None else {"name": self.bug, **_all_bugs()[self.bug]},
            "opt_level": self.opt_level,
            "simd": self.simd or bool(self.dialect.all("vector")),
        }

    @property
    def key(self) -> str:
        """Return 16 hex digits that change with whatever reaches the compiler."""
        parts = [repr(self), *self.dialect.switches, *map(str, sorted(self.dialect.environment.items()))]
        sources = [path.read_bytes() for path in sorted((build.GUEST / "src").glob("*.rs"))]
        return hashlib.sha256(b"\0".join([*(part.encode() for part in parts), *sources])).hexdigest()[:16]


def _all_bugs() -> dict[str, dict[str, Any]]:
    return {**build.load_bugs(), **build.every_unknown_bug()}


def random_variants(
    count: int, seed: int, bugs: str | None = None, arithmetic: bool = False, architectures: bool = False
) -> list[Variant]:
    """Return legal variants, the same for the same seed.

    With `bugs` (known, unknown, later, any) there is one bug in each, with `arithmetic` another order of additions;
    with `architectures` those that read GGUF have some besides, and options of these.
    """
    variants = [_random_variant(random.Random(f"{seed}/{number}"), bugs, arithmetic) for number in range(count)]
    if not architectures:
        return variants
    return [_richer(variant, random.Random(f"{seed}/{at}/architectures")) for at, variant in enumerate(variants)]


def each_option() -> list[Variant]:
    """Return the clean build, one with every architecture, and one for every option with nothing else changed.

    An option that shows in an architecture alone brings it.
    """
    every = Dialect.of([f"architecture={name}" for name in names_of("architecture")])
    return [Variant(), Variant(dialect=every), *(Variant((option,)) for option in build.option_names())]


def _richer(variant: Variant, rng: random.Random) -> Variant:
    """Add architectures to a variant that reads GGUF, of half of these the other option."""
    if "gguf" in variant.dialect.all("without"):
        return variant
    chosen = [name for name in names_of("architecture") if rng.random() < 0.6]
    options = [
        name
        for architecture in chosen
        for name in build.load_options()[load_dialects()["architecture"][architecture]].values()
        if name is not None and rng.random() < 0.5
    ]
    dialect = Dialect.of([*variant.dialect.texts, *(f"architecture={name}" for name in chosen)])
    return replace(variant, options=(*variant.options, *options), dialect=dialect)


def _random_variant(rng: random.Random, bugs: str | None, arithmetic: bool) -> Variant:
    pool = (
        [] if bugs is None else [name for name in sorted(_pool(bugs)) if not (arithmetic and name.startswith("dot_"))]
    )
    bug = rng.choice(pool) if pool else None
    while True:
        choices = _random_choices(rng, bug) + (_random_order(rng) if arithmetic else [])
        try:
            dialect = Dialect.of(choices)
        except DialectError:  # two names met in one place
            continue
        return Variant(_random_options(rng, bug, dialect), dialect, bug, rng.choice(OPT_LEVELS))


def _pool(bugs: str) -> dict[str, dict[str, Any]]:
    known, unknown = build.load_bugs(), build.load_unknown_bugs()
    later = {name: bug for name, bug in build.every_unknown_bug().items() if name not in unknown}
    return {"known": known, "unknown": unknown, "later": later, "any": {**known, **unknown}}[bugs]


def _random_options(rng: random.Random, bug: str | None, dialect: Dialect) -> tuple[str, ...]:
    """Choose options of a third of the rules, none of the rule that the bug breaks."""
    broken = None if bug is None else _all_bugs()[bug]["rule"]
    foreign = any(dialect.all(group) for group in (*CHECKSUM_GROUPS, "comparison"))
    chosen = []
    for rule, texts in build.load_options().items():
        if rule in load_dialects()["architecture"].values():
            continue
        wanted = rng.random() < 0.35
        name = rng.choice([cfg for cfg in texts.values() if cfg is not None])
        rule = rule.split()[0]
        if wanted and rule != broken and not (rule == "SL-5" and foreign):
            chosen.append(name)
    return tuple(chosen)


def _random_choices(rng: random.Random, bug: str | None) -> list[str]:
    """Choose a dialect in which a bug, if there is one, can still be seen."""
    rule, family = ("", "") if bug is None else (_all_bugs()[bug]["rule"], _all_bugs()[bug]["family"])
    choices = []

    def maybe(group: str, chance: float) -> None:
        if rng.random() < chance:
            choices.append(f"{group}={rng.choice(names_of(group))}")

    if rule != "SL-5":
        for group, chance in zip(CHECKSUM_GROUPS, (0.7, 0.4, 0.4), strict=True):
            maybe(group, chance)
        maybe("comparison", 0.3)
    for group, chance in (("names", 0.75), ("nesting", 0.5), ("order", 0.3), ("messages", 0.6), ("extra", 0.4)):
        maybe(group, chance)
    for forms in load_dialects()["form"].values():
        if rng.random() < 0.3:
            choices.append(f"form={rng.choice(list(forms))}")
    if family != "diagnostics":
        for _ in range(rng.choice((0, 0, 0, 1, 2, 4))):
            maybe("missing", 1.0)
    for feature in names_of("without"):
        if rng.random() < 0.25 and feature not in _needed(bug or "", rule):
            choices.append(f"without={feature}")
    return [choice for choice in choices if not choice.startswith(UNFIT)]


def _random_order(rng: random.Random) -> list[str]:
    """Choose an order of additions, uniform over all matrices."""
    choices = [f"sum={rng.choice(names_of('sum'))}"]
    if choices[0].startswith("sum=lanes"):
        for group in ("tail", "reduction", "vector"):
            choices += [f"{group}={rng.choice(names_of(group))}"] if rng.random() < 0.6 else []
    if not choices[0].startswith("sum=f64") and not any(choice.startswith("vector") for choice in choices):
        choices += ["product=fused"] if rng.random() < 0.2 else []
    return choices + [f"reach={name}" for name in names_of("reach") if rng.random() < 0.4]


def _needed(bug: str, rule: str) -> tuple[str, ...]:
    """Return the features without which a bug could not be seen."""
    if bug == "rope_factors_ignored":
        return ("gguf", "rope_factors")
    needs = tuple(
        feature for mark, feature in (("q4_", "q4_0"), ("q8_", "q8_0"), ("bpe", "bpe1")) if bug.startswith(mark)
    )
    if bug == "bad_scales_accepted":
        needs = ("q8_0", "q4_0")
    stated = build.every_unknown_bug().get(bug, {}).get("needs", "")
    return (*needs, *(("gguf",) if rule.startswith("GG") else ()), *((stated,) if stated else ()))


def build_all(variants: Sequence[Variant], out: Path, jobs: int = 2) -> Iterator[Path]:
    """Build variants into `out`, each with its truth beside it, in parallel and in their order; raises BuildError."""
    tools = build.find_toolchain()
    folders = _Folders(out / ".incremental")

    def build_one(variant: Variant) -> Path:
        path = out / f"strange-{variant.key}.wasm"
        truth = path.with_name(path.name + ".json")
        if path.exists() and truth.exists():  # what is true of it may be told otherwise by now
            record = {**json.loads(truth.read_text("utf-8")), **variant.truth()}
            truth.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
            return path
        with folders.taken(
            f"O{variant.opt_level}{'-simd' * (variant.simd or bool(variant.dialect.all('vector')))}"
        ) as folder:
            built = build.build(
                out,
                options=variant.options,
                bugs=[variant.bug] if variant.bug else [],
                dialect=variant.dialect,
                opt_level=variant.opt_level,
                simd=variant.simd,
                probe=variant.probe,
                name=path.name,
                incremental=folder,
                toolchain=tools,
            )
        record = {"module": path.name, "sha256": built.sha256, **variant.truth(), "compiler": built.compiler}
        truth.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
        return path

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        yield from pool.map(build_one, variants)


class _Folders:
    """Folders of what builds of one level have in common; a further one is a copy of one that is not in use."""

    def __init__(self, root: Path) -> None:
        self._root, self._changed = root, threading.Condition()
        self._taken: set[Path] = set()

    @contextmanager
    def taken(self, level: str) -> Iterator[Path]:
        """Lend a folder to one build."""
        with self._changed:
            first = self._root / f"{level}-0"
            folder = next(path for path in map(self._numbered(level), range(99)) if path not in self._taken)
            if folder != first and not folder.exists():
                self._changed.wait_for(lambda: first not in self._taken)
                folder = first if folder in self._taken or not first.exists() else folder
                if folder != first:
                    shutil.copytree(first, folder)
            self._taken.add(folder)
        try:
            yield folder
        finally:
            with self._changed:
                self._taken.discard(folder)
                self._changed.notify_all()

    def _numbered(self, level: str) -> Callable[[int], Path]:
        return lambda number: self._root / f"{level}-{number}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what the command line asks for; 0 fine, 3 missing tool or failed build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--random", type=int, metavar="N", help="how many modules")
    kind.add_argument("--each-option", action="store_true", help="the clean module and one for every option")
    parser.add_argument("--seed", type=int, default=1, help="chooses the combinations (default: 1)")
    parser.add_argument("--out", type=Path, required=True, help="directory for the modules")
    parser.add_argument(
        "--with-bug", choices=("known", "unknown", "later", "any"), help="one bug of this table in each module"
    )
    parser.add_argument("--arithmetic", action="store_true", help="another order of additions in each module")
    parser.add_argument("--architectures", action="store_true", help="further architectures where GGUF is read")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="builds at a time (default: 2)")
    parsed = parser.parse_args(arguments)
    variants = (
        each_option()
        if parsed.each_option
        else random_variants(parsed.random, parsed.seed, parsed.with_bug, parsed.arithmetic, parsed.architectures)
    )
    began = time.monotonic()
    try:
        for path in build_all(variants, parsed.out, parsed.jobs):
            truth = json.loads(path.with_name(path.name + ".json").read_text("utf-8"))
            bug = f"  bug {truth['bug']['name']}" if truth["bug"] else ""
            print(
                f"{path}  O{truth['opt_level']}  {' '.join([*truth['switches'], *truth['choices']])}{bug}", flush=True
            )
    except build.BuildError as error:
        print(f"random_builds.py: {error}", file=sys.stderr)
        return 3
    seconds = time.monotonic() - began
    print(f"{len(variants)} modules in {seconds:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
