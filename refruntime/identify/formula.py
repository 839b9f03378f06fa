"""Find the checksum formula of a build from sums of chosen files, so that files are sealed without it (SL-5, ID-2).

    fitted = formula_of(sealer)        # or fit_formula(ask) with any function from a file to its sum
    fitted.profile(Profile())          # the profile with SL-5.order, SL-5.start and SL-5.rotation of the build

Files that differ in the last byte but one alone show the step: undone, all must lead to one state (`formula_family`). A
step that passes is undone to the front of two longer files, which must give one start; then it
is held against random files, a thousand unless the caller wants fewer. What fits all of them is the formula. NoFormula
says what was tried.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from random import Random
from typing import Any, Final

from refruntime.containers.checksum import slm1_checksum
from refruntime.containers.slm1_format import HEADER_OFFSETS
from refruntime.contract.checksum_order import Rotate, write_order
from refruntime.contract.profile import Profile
from refruntime.identify.formula_factor import DIFFERENT, steps_of_unknown_factor
from refruntime.identify.formula_family import (
    FACTORS,
    Ending,
    Step,
    distances,
    fitting_steps,
    fitting_steps_of_two_distances,
    plain_structures,
    state_before,
    structures,
)
from refruntime.identify.seal import HEADER_BYTES, Sealer, probes

Ask = Callable[[bytes], int | None]
"""Return the build's sum of a file; None when the build refuses the file before it compares."""

RANDOM_FILES: Final = 1000
MOST_CANDIDATES: Final = 2000
"""Steps that may pass the first test; by accident none does (2^-192), so many means that a file was no test."""


class NoFormula(Exception):
    """No step of the family gives the build's sums; `tried` says what was asked and compared."""

    def __init__(self, message: str, tried: tuple[str, ...]) -> None:
        self.tried = tried
        super().__init__(message)


@dataclass(frozen=True)
class Fitted:
    """A formula that gives every sum that the build was asked for: of `files` random files, besides the chosen ones."""

    step: Step
    start: int
    files: int
    tried: tuple[str, ...]

    def profile(self, base: Profile) -> Profile:
        """Return a profile with this formula."""
        constants = {operation.distance for operation in self.step if isinstance(operation, Rotate)}
        step, rotation = self.step, base.checksum_rotation
        if len(constants) == 1:
            rotation = constants.pop() or 0
            step = tuple(Rotate() if isinstance(operation, Rotate) else operation for operation in step)
        changes: dict[str, Any] = {
            "checksum_order": write_order(step),
            "checksum_start": self.start,
            "checksum_rotation": rotation,
        }
        return replace(base, checksum="verified", **changes)


def formula_of(sealer: Sealer, random_files: int = RANDOM_FILES) -> Fitted:
    """Find the formula of a build that can be asked: NoFormula, also for a build that shows no whole sums."""
    kind = sealer.comparison.kind
    if kind != "whole":
        known = "nothing of a sum" if kind == "not verified" else f"the bits {sealer.comparison.mask:#018x} of a sum"
        raise NoFormula(f"the build compares {known}, so no formula can be worked out", sealer.comparison.evidence)
    return fit_formula(lambda file: sealer.seal(file).checksum, random_files)


def fit_formula(ask: Ask, random_files: int = RANDOM_FILES, seed: int = 1) -> Fitted:
    """Find the formula: NoFormula when no step fits, or the build does not get as far as the checksum."""
    random = Random(seed)
    files = _Files(ask, random)
    tried = [files.about]
    ending = files.ending(2)
    longer = [(file, files.sum(file)) for file in (files.file(random.randint(280, 340)), files.file(420))]
    tried.append(
        f"{len(structures())} steps with {len(distances())} rotations and {len(FACTORS)} multipliers, two different "
        "rotations, an unknown multiplier"
    )
    for step in islice(_candidates(ending, files), MOST_CANDIDATES):
        starts = {state_before(file, step, checksum, 0) for file, checksum in longer}
        if len(starts) != 1:
            continue
        fitted = Fitted(step, starts.pop(), 0, tuple(tried))
        held = _held(fitted, files, random_files)
        if held == random_files:
            return replace(fitted, files=held)
        tried.append(f"{write_order(step)} from {fitted.start:#x} fits {held} of {random_files} random files")
    shown = f"the sum of a file of {len(longer[0][0])} bytes is {longer[0][1]:#x}"
    raise NoFormula(f"no formula of the published family gives the sums of this build ({shown})", tuple(tried))


def _candidates(ending: Ending, files: _Files) -> Iterator[Step]:
    """Yield steps that the last bytes do not contradict, the likely ones first."""
    yield from chain.from_iterable(fitting_steps(ending, factor, structures()) for factor in FACTORS[:2])
    yield from fitting_steps_of_two_distances(ending, FACTORS[0])
    yield from steps_of_unknown_factor(files.ending(1), ending, files.different())
    yield from chain.from_iterable(fitting_steps(ending, factor, plain_structures()) for factor in FACTORS[2:])


def _held(fitted: Fitted, files: _Files, wanted: int) -> int:
    """Return how many random files a formula gives the right sum of, up to the first that it does not."""
    profile = fitted.profile(Profile())
    for done in range(wanted):
        file = files.file(files.random.randint(HEADER_BYTES, 700))
        if slm1_checksum(file, profile) != files.sum(file):
            return done
    return wanted


class _Files:
    """Makes files that a build gets as far as the checksum with, and asks for their sums."""

    def __init__(self, ask: Ask, random: Random) -> None:
        self.ask, self.random = ask, random
        whole = probes()[0]
        for self._front, self.about in (
            (_bare_header(whole), "files of a header and any bytes"),
            (whole, "whole models with any bytes behind them"),
        ):
            if ask(self.file(300)) is not None:
                return
        raise NoFormula("the build refuses files before it compares their checksum", (self.about,))

    def file(self, length: int) -> bytes:
        """Return a file that ends in random bytes; `length` is that of the header and these."""
        return self._front + self.random.randbytes(max(length - HEADER_BYTES, 1))

    def sum(self, file: bytes) -> int:
        """Return the build's sum: NoFormula."""
        checksum = self.ask(file)
        if checksum is None:
            raise NoFormula(
                f"the build compared the checksum of other {self.about}, but not of one of {len(file)} bytes",
                (self.about,),
            )
        return checksum

    def different(self) -> Ending:
        """Return two short files that differ in their last bytes."""
        file = self.file(HEADER_BYTES + 13)[:-DIFFERENT]
        pair = (file + self.random.randbytes(DIFFERENT), file + self.random.randbytes(DIFFERENT))
        return Ending(pair, (self.sum(pair[0]), self.sum(pair[1])))

    def ending(self, place: int) -> Ending:
        """Return files that differ in the byte at `place` from the end: by each single bit, and by all."""
        file = bytearray(self.file(HEADER_BYTES + 13))
        files = []
        for change in (0, 1, 2, 4, 8, 16, 32, 64, 128, 255):
            other = bytearray(file)
            other[-place] ^= change
            files.append(bytes(other))
        return Ending(tuple(files), tuple(map(self.sum, files)))


def _bare_header(whole: bytes) -> bytes:
    """Return the header of a model, with nothing in its ranges; whatever follows it is no part of anything."""
    header = bytearray(whole[:HEADER_BYTES])
    for field, form, value in (
        ("header_length", "<I", HEADER_BYTES),
        ("tokenizer_offset", "<Q", HEADER_BYTES),
        ("tokenizer_length", "<Q", 0),
        ("tensor_directory_offset", "<Q", HEADER_BYTES),
        ("tensor_count", "<I", 0),
        ("tensor_data_offset", "<Q", 64),
    ):
        struct.pack_into(form, header, HEADER_OFFSETS[field], value)
    return bytes(header)
