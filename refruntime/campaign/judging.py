"""Engines x models x settings: the cells of a table in TOML, and the judgement of each, kept in a ledger.

text = "Once upon a time"            # or the one that `judge` takes
positions = 16
greedy = 8
laws = false

[models]
"stories, float32" = "stories.f32.gguf"   # a path beside the table, or the name of one of the project's own models

[engines.xllamacpp]
server = "python {folder}/serve-xllamacpp.py {model} {port} {settings}"   # or python = NAME, or node = COMMAND
version = "python -c 'import xllamacpp; print(xllamacpp.__version__)'"
expects = "TOKENISATION"             # a known fault: it fails nothing, and fails where it is no more
models = ["stories, float32"]        # those that it can run; without it all

[engines.xllamacpp.settings]         # of a Python package: its arguments, as a JSON object
defaults = ""
"float32 cache" = "kv=f32"
"""

from __future__ import annotations

import json
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Final

from refruntime.campaign.ledger import Ledger
from refruntime.campaign.packed import content_hash
from refruntime.contract.profile import Profile
from refruntime.engines.base import EngineError
from refruntime.judge.ask import ask_engine
from refruntime.judge.judge import Judge
from refruntime.judge.laws import check_laws, finding_of
from refruntime.judge.sources import EngineSource, SourceKind
from refruntime.judge.verdict import FINE, StageVerdict
from refruntime.model.load import validate_model

KINDS: Final[tuple[SourceKind, ...]] = ("server", "python", "node")
ENGINE_KEYS: Final = {*KINDS, "version", "expects", "settings", "models"}
NOT_RUN: Final = "NOT_RUN"
SECONDS: Final = 60
NEAREST: Final = 3
"""Arithmetics whose distance is kept."""


JUDGED: Final[dict[str, Any]] = {
    "verdict": frozenset(map(str, StageVerdict)),
    "text": str,
    "source?": str,
    "findings": [{"stage": str, "verdict": frozenset(map(str, StageVerdict)), "text": str}],
    "measured": [{"name": str}],
}
"""The form of a result in a ledger."""


class BadMatrix(ValueError):
    """A table that does not say which engines run which models; the message says what is wrong."""


@dataclass(frozen=True)
class MatrixEngine:
    """An engine of a table: `source` with {model} and {settings} in its place; `settings` name -> words.

    `models` are those that it can run, None for all.
    """

    name: str
    source: EngineSource
    settings: Mapping[str, str]
    version: str = ""
    expects: str = ""
    models: tuple[str, ...] | None = None

    def source_with(self, model: Path, settings: str) -> EngineSource:
        """Return the source for one model and setting."""
        place = self.source.place.replace("{model}", shlex.quote(str(model))).replace("{settings}", settings)
        return EngineSource(self.source.kind, place)


@dataclass(frozen=True)
class EngineCell:
    """One judgement to make: `setting` is its name, `key` names all that the result depends on."""

    engine: MatrixEngine
    setting: str
    model: str
    path: Path
    version: str
    key: str


@dataclass(frozen=True)
class JudgeMatrix:
    """A table: what is asked of every engine."""

    engines: tuple[MatrixEngine, ...]
    models: Mapping[str, Path]
    text: str
    positions: int = 16
    greedy: int = 8
    laws: bool = False

    @property
    def asked(self) -> dict[str, Any]:
        """Return what is asked of every engine as plain values."""
        return {"text": self.text, "positions": self.positions, "greedy": self.greedy, "laws": self.laws}


@dataclass
class JudgedCells:
    """What became of the cells: `results` by key of those that were judged, `reasons` of those that were not run."""

    cells: tuple[EngineCell, ...]
    results: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    new: int = 0

    def verdict(self, cell: EngineCell) -> str:
        """Return the verdict of a cell."""
        result = self.results.get(cell.key)
        return NOT_RUN if result is None else str(result["verdict"])

    def fine(self, cell: EngineCell) -> bool:
        """Say whether a cell is free of blame, or has the verdict that its engine is expected to have."""
        verdict = self.verdict(cell)
        return verdict in FINE or (verdict == cell.engine.expects and verdict != "")

    @property
    def stale(self) -> list[str]:
        """Return the engines that are expected to be blamed, and were judged, and nowhere are."""
        expecting = {cell.engine.name: cell.engine.expects for cell in self.cells if cell.engine.expects}
        return [
            name
            for name, expected in expecting.items()
            if (verdicts := {self.verdict(cell) for cell in self.cells if cell.engine.name == name}) - {NOT_RUN}
            and expected not in verdicts
        ]

    @property
    def all_fine(self) -> bool:
        """Say whether there are cells, all were run, nothing unexpected was found, and what is expected was."""
        return bool(self.cells) and not self.stale and all(map(self.fine, self.cells))


def read_matrix(document: str, folder: Path, own: Callable[[str], Path | None], text: str) -> JudgeMatrix:
    """Read a table: BadMatrix. Paths are those beside it in `folder`; `own` knows the project's models by name."""
    try:
        table = tomllib.loads(document)
    except tomllib.TOMLDecodeError as error:
        raise BadMatrix(f"it is no TOML: {error}") from error
    unknown = table.keys() - {"text", "positions", "greedy", "laws", "models", "engines"}
    if unknown:
        raise BadMatrix(f"unknown key {sorted(unknown)[0]!r}")
    models = _table(table, "models")
    engines = tuple(
        _engine(name, _table(_table(table, "engines"), name), folder, models.keys())
        for name in _table(table, "engines")
    )
    if not engines or not models:
        raise BadMatrix("it has no [engines.NAME] or no [models]")
    positions, greedy, laws = table.get("positions", 16), table.get("greedy", 8), table.get("laws", False)
    if type(positions) is not int or type(greedy) is not int or positions < 1 or greedy < 0 or type(laws) is not bool:
        raise BadMatrix("positions and greedy are numbers from 1 and 0 on, laws is true or false")
    paths = {}
    for name, place in models.items():
        beside = folder / str(place)
        path = beside if beside.exists() else own(str(place))
        if path is None:
            raise BadMatrix(f"model {name!r}: there is no file {beside}, and no model of this project is called so")
        paths[name] = path
    return JudgeMatrix(engines, paths, str(table.get("text", text)), positions, greedy, laws)


def _table(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise BadMatrix(f"{name} is no table")
    return found


def _engine(name: str, table: Mapping[str, Any], folder: Path, known: Set[str]) -> MatrixEngine:
    kinds = [kind for kind in KINDS if kind in table]
    unknown = table.keys() - ENGINE_KEYS
    if len(kinds) != 1 or unknown:
        said = f"unknown key {sorted(unknown)[0]!r}" if unknown else f"it needs one of {', '.join(KINDS)}"
        raise BadMatrix(f"engine {name!r}: {said}")
    expects = str(table.get("expects", ""))
    if expects and (expects not in list(StageVerdict) or expects in FINE):
        raise BadMatrix(f"engine {name!r}: {expects!r} is no verdict that blames an engine")
    settings = {str(key): str(words) for key, words in _table(table, "settings").items()} or {"": ""}
    for words in settings.values() if kinds[0] == "python" else ():
        try:
            fitting = not words or isinstance(json.loads(words), dict)
        except json.JSONDecodeError:
            fitting = False
        if not fitting:
            raise BadMatrix(f"engine {name!r}: settings of a Python package are JSON objects; {words!r} is none")
    source = EngineSource(kinds[0], str(table[kinds[0]]).replace("{folder}", shlex.quote(str(folder))))
    models = table.get("models")
    if models is not None and (not isinstance(models, list) or not set(models) <= known):
        raise BadMatrix(f"engine {name!r}: models is a list of names that [models] has")
    own = None if models is None else tuple(models)
    return MatrixEngine(name, source, settings, str(table.get("version", "")), expects, own)


def cells_of(matrix: JudgeMatrix, profile: Profile, sources: str) -> Iterator[EngineCell]:
    """Yield the cells, model by model; `sources` says which version of this tool judges."""
    versions = {engine.name: engine_version(engine) for engine in matrix.engines}
    for model, path in matrix.models.items():
        content = sha256(path.read_bytes()).hexdigest()
        for engine in matrix.engines:
            if engine.models is not None and model not in engine.models:
                continue
            for setting, words in engine.settings.items():
                facts = {
                    "engine": [engine.source.kind, engine.source.place, words, versions[engine.name]],
                    "model": content,
                    "profile": profile.fingerprint,
                    "sources": sources,
                    **matrix.asked,
                }
                yield EngineCell(engine, setting, model, path, versions[engine.name], content_hash(facts))


def engine_version(engine: MatrixEngine) -> str:
    """Return the version that an engine's command tells, or that of its Python package; "" where nothing tells it."""
    if not engine.version:
        try:
            return version_of(engine.source.place) if engine.source.kind == "python" else ""
        except PackageNotFoundError:
            return ""
    try:
        words = shlex.split(engine.version)
        done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""


def judge_cells(
    matrix: JudgeMatrix,
    profile: Profile,
    cells: tuple[EngineCell, ...],
    ledger: Ledger,
    say: Callable[[str], object] = lambda _: None,
    done: Callable[[EngineCell], object] = lambda _: None,
) -> JudgedCells:
    """Judge every cell that the ledger has no result of, and keep each result at once. OSError.

    An engine that is missing or fails gives a reason and no result, so it is asked again the next time.
    """
    judged = JudgedCells(cells)
    judge: tuple[Path, Judge] | None = None
    for cell in cells:
        if cell.key not in ledger.results:
            if judge is None or judge[0] != cell.path:
                judge = cell.path, Judge(validate_model(cell.path.read_bytes(), profile), profile)
            say(f"{cell.engine.name}, {cell.setting or 'as it is'}, {cell.model}")
            try:
                result = _judge(matrix, judge[1], cell)
            except (EngineError, ValueError, KeyError) as error:
                judged.reasons[cell.key] = (str(error).splitlines() or [type(error).__name__])[0]
                done(cell)
                continue
            ledger.add(cell.key, result)
            ledger.flush()
            judged.new += 1
        judged.results[cell.key] = ledger.results[cell.key]
        done(cell)
    return judged


def _judge(matrix: JudgeMatrix, judge: Judge, cell: EngineCell) -> dict[str, Any]:
    model = judge.model
    ids = model.tokenizer.encode(matrix.text.encode())
    if len(ids) > 1 and ids[-1] == model.tokenizer.eos_id:
        del ids[-1]  # a prompt leaves out a terminal EOS (GEN-2)
    positions = min(matrix.positions, model.hyperparameters.max_context)
    words = cell.engine.settings[cell.setting]
    source = cell.engine.source_with(cell.path, words)
    options = json.loads(words) if source.kind == "python" and words else {}
    with source.opened(model, cell.path, positions + matrix.greedy, **options) as engine:
        observed = ask_engine(engine, matrix.text, ids, positions, matrix.greedy)
        judgement = judge.judge(observed)
        if matrix.laws:
            found = check_laws(engine, observed.ids, judgement.rounding)
            judgement = judgement.with_findings(map(finding_of, found))
    document = judgement.to_dict()
    if source.kind == "server":
        del document["source"]  # it holds a port
    return {**document, "measured": document["measured"][:NEAREST], "tried": []}
