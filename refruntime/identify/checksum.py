"""Find out how a build seals its files: by the contract's own formula, by another one, or not at all (SL-5, ID-2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.cases.observation import code_of
from refruntime.cases.steps import INIT, Case, Load
from refruntime.client import Client
from refruntime.containers.checksum import CHECKSUM_FIELD, with_checksum
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.engines.base import Engine, EngineError, Limits
from refruntime.identify.asking import AskedBuild
from refruntime.identify.comparison import ChecksumComparison
from refruntime.identify.formula import Fitted, NoFormula, formula_of
from refruntime.identify.seal import CannotSeal, Sealer

PLACES: Final = (0, 9, 18, 27, 31, 32, 40, 47, 48, 55, 63)
"""Bits of a right checksum that are turned, one by one: a build that compares a part of the sum shows itself."""

FROM_THE_END: Final = (1, 2, 3, 4, 8, 60, 180)
"""Bytes of the weights that are changed behind the checksum, counted from the end: each must be covered."""

PLAIN: Final = Shape(hidden=4, layers=1, heads=2, ffn=6, capacity=8)


@dataclass(frozen=True)
class Checksum:
    """How files are sealed for a build.

    `kind` is `contract` (the default formula), `formula` (another one that is known), `asked` (the build is asked for
    each file), `not verified`, or `unknown`; `profile` has the formula where there is one. `fit` seals a file of ours.
    `cases` show with which sums a file is loaded; `wrongly` are the models of them with a wrong sum that is accepted.
    """

    kind: str
    status: str
    text: str
    profile: Profile
    fit: Callable[[bytes], bytes]
    evidence: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    wrongly: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Say whether files can be sealed."""
        return self.kind != "unknown"


def find_checksum(module: bytes, fresh: Callable[[], Engine], limits: Limits, profile: Profile) -> Checksum:
    """Find how a build seals its files, and show with which sums it loads one."""
    right = random_model(7, PLAIN, profile=profile)
    found = _found(module, fresh, limits, profile, right)
    return with_evidence(found, fresh, right) if found.known else found


def _found(module: bytes, fresh: Callable[[], Engine], limits: Limits, profile: Profile, right: bytes) -> Checksum:
    answers = [_loads(fresh, data) for data in (right, *_wrong(right).values())]
    if answers[0] == Status.Ok and all(answer == Status.InvalidHeader for answer in answers[1:]):
        evidence = ("a file with the checksum of SL-5 is loaded, and refused when one bit of it is wrong",)
        return Checksum("contract", "observed", "the formula of the contract", profile, lambda data: data, evidence)
    if all(answer == Status.Ok for answer in answers):
        evidence = ("a file is loaded with the right checksum and with wrong ones",)
        unverified = replace(profile, checksum="not verified")
        return Checksum("not verified", "observed", "not verified", unverified, lambda data: data, evidence)
    return _asked(module, limits, profile, answers[0])


def _wrong(right: bytes) -> dict[str, bytes]:
    """Return the file with one bit of its checksum turned, for each of PLACES."""
    first, last = CHECKSUM_FIELD
    own = int.from_bytes(right[first:last], "little")
    return {f"bit-{place}": with_checksum(right, own ^ 1 << place) for place in PLACES}


def _changed(sealed: bytes) -> dict[str, bytes]:
    """Return the file with one byte of its weights changed, for each of FROM_THE_END, and the checksum as it was."""
    places = [len(sealed) - distance for distance in FROM_THE_END]
    return {f"byte-{at}": sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in places}


def with_evidence(found: Checksum, fresh: Callable[[], Engine], right: bytes) -> Checksum:
    """Return what was found with the session that shows it; a build that loads some wrong sums breaks SL-5."""
    sealed = found.fit(right)
    files = {"sealed": sealed, **_wrong(sealed), **_changed(sealed)}
    case = Case("checksum/loads", (INIT, *map(Load, files)), files, ("SL-5", "SL-1"))
    answers = AskedBuild(fresh).ask(case)
    loaded = [
        name for name, answer in zip(files, answers[1:], strict=False) if code_of(answer.observation) == Status.Ok
    ]
    wrongly = tuple(loaded[1:]) if loaded[:1] == ["sealed"] and found.kind != "not verified" else ()
    return replace(found, wrongly=wrongly, cases=(case,))


def _asked(module: bytes, limits: Limits, profile: Profile, first_answer: object) -> Checksum:
    try:
        sealer = Sealer(module, limits)
    except (CannotSeal, EngineError) as error:
        failed = (f"a plain file with the checksum of SL-5: {first_answer}", *getattr(error, "tried", ()))
        kind = getattr(error, "kind", "failed")
        return Checksum(
            "unknown", "unknown", str(error), profile, lambda data: data, (), failed, facts={"trouble": kind}
        )
    comparison = sealer.comparison
    if comparison.kind == "not verified":
        unverified = replace(profile, checksum="not verified")
        return Checksum(
            "not verified", "observed", "not verified", unverified, lambda data: data, tuple(comparison.evidence)
        )
    searched: tuple[str, ...] = ()
    if comparison.kind == "whole":
        try:
            fitted = formula_of(sealer)
        except NoFormula as error:
            searched = (str(error), *error.tried)
        else:
            return _formula(fitted, comparison, profile)
    text = "asked from the build's own comparison"
    if comparison.kind == "truncated":
        text += f", of which only the bits {comparison.mask:#x} are compared"
    return Checksum(
        "asked",
        "observed",
        text,
        profile,
        sealer.fit,
        tuple(comparison.evidence),
        searched,
        facts={"compared": comparison.kind, "mask": f"{comparison.mask:#x}"},
    )


def _formula(fitted: Fitted, comparison: ChecksumComparison, profile: Profile) -> Checksum:
    """Return how files are sealed without the build."""
    found = fitted.profile(profile)
    sealer = Sealer(b"", formula=found)
    text = f"{found.checksum_order}, rotation {found.checksum_rotation}, start {found.checksum_start:#x}"
    held = f"this formula gives the build's own sum of {fitted.files} random files"
    facts: dict[str, object] = {"compared": comparison.kind, "files": fitted.files}
    return Checksum("formula", "observed", text, found, sealer.fit, (*comparison.evidence, held), facts=facts)


def _loads(fresh: Callable[[], Engine], data: bytes) -> int | str:
    try:
        return Client(fresh()).load_model(data)
    except EngineError as error:
        return str(error)
