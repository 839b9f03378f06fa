"""`refruntime judge`: is an engine right about a model, and if it differs, why?"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from refruntime import __version__
from refruntime.commands.files import (
    ModelPath,
    UnreadableFile,
    folder_option,
    path_option,
    profile_option,
    reachable,
    write_file,
)
from refruntime.commands.judge_layers import judge_layers, layers_document, print_layers
from refruntime.commands.shared import (
    add_row,
    checked_tokens,
    contract_failures,
    html_option,
    ids_option,
    json_option,
    map_file,
    plain_table,
    printable,
    progress,
    write_json,
)
from refruntime.contract.profile import Profile
from refruntime.engines.asked import AskedEngine
from refruntime.engines.base import EngineError, EngineMissing
from refruntime.engines.packages import PACKAGES
from refruntime.judge.ask import ask_engine
from refruntime.judge.files import UnreadableNumbers, ids_of, read_arrays, rows_of
from refruntime.judge.judge import Judge
from refruntime.judge.junit import judgement_junit
from refruntime.judge.laws import check_laws, finding_of
from refruntime.judge.layers import LayersFinding
from refruntime.judge.observed import ObservedRows
from refruntime.judge.sources import EngineSource
from refruntime.judge.verdict import EngineJudgement
from refruntime.model.load import validate_model
from refruntime.model.validated import ValidatedModel
from refruntime.show.page.judge import judge_page

TEXT: Final = "Once upon a time there was a small house. In 1986 it cost 40 dollars, and nobody wanted to buy it."
SHOWN: Final = 8


@click.command(
    "judge",
    epilog="""\b
Examples:
  refruntime judge model.gguf --server http://127.0.0.1:8080
  refruntime judge model.gguf --logits theirs.npz --ids 1,403,407
  refruntime judge model.gguf --layers hooks.npz --ids 1,403,407
  refruntime judge model.gguf --python llama-cpp-python
  refruntime judge model.gguf --node 'node judge-lines.mjs model.gguf' --positions 32
  refruntime judge --matrix matrix.toml --into results
""",
)
@click.argument("model", type=ModelPath(), required=False)
@click.option("--server", metavar="URL", help="Ask a server: llama.cpp's, or one with the completions of OpenAI.")
@click.option(
    "--logits", "numbers", metavar="FILE", type=click.Path(path_type=Path), help="Read .npy, .npz, .json, .safetensors."
)
@click.option("--layers", metavar="FILE", type=click.Path(path_type=Path), help="Read a dump of layers.")
@click.option("--names", metavar="auto|ggml|hf|FILE", help="Whose names a dump has; a table in TOML for others.")
@click.option("--python", "package", type=click.Choice(list(PACKAGES)), help="Ask a Python package.")
@click.option(
    "--node", "program", metavar="COMMAND", help="Ask a program that speaks JSON lines, such as a Node script."
)
@click.option("--engine-model", type=ModelPath(), help="The engine's own form of MODEL, for --python.")
@click.option("--text", help="Text to judge on; without it and --ids a short mixed one.")
@ids_option
@click.option("--positions", type=click.IntRange(min=1), default=16, show_default=True, help="Positions to compare.")
@click.option("--greedy", type=click.IntRange(min=0), default=16, show_default=True, help="Tokens to follow greedily.")
@path_option("--matrix", help="Judge the engines and models of a table in TOML.")
@folder_option("--into", help="Where --matrix keeps its results.")
@click.option("--laws", is_flag=True, help="Check too that another way to ask has the same answer.")
@click.option("--junit", metavar="FILE", type=click.Path(path_type=Path), help="Write the verdicts as JUnit XML too.")
@profile_option
@html_option
@json_option
def judge_command(
    model: Path | None,
    matrix: Path | None,
    into: Path | None,
    server: str | None,
    numbers: Path | None,
    layers: Path | None,
    names: str | None,
    package: str | None,
    program: str | None,
    engine_model: Path | None,
    text: str | None,
    ids: list[int] | None,
    positions: int,
    greedy: int,
    laws: bool,
    junit: Path | None,
    profile: Profile,
    html_path: Path | None,
    as_json: bool,
) -> None:
    """Judge an engine that runs MODEL: its tokens, logits and greedy path, and why they differ where they do.

    Every arithmetic that an engine may have on purpose is run and its distance measured: float32, ggml's quantised
    inputs, keys and values in half precision or q8_0, flash attention. What remains is a known fault, or UNEXPLAINED.
    Exit code 1 blames the engine, or says that nothing was compared.
    """
    if matrix is not None:
        if model is not None or into is None:
            raise click.UsageError("--matrix goes with --into DIR, and names its models itself.")
        with _failures():  # of campaigns, which need wasmtime, it has the ledger
            from refruntime.commands.judge_matrix import judge_matrix
        raise click.exceptions.Exit(judge_matrix(matrix, into, profile, TEXT, as_json))
    if model is None or into is not None:
        raise click.UsageError("Give a MODEL; --into DIR goes with --matrix." if into else "Give a MODEL, or --matrix.")
    sources = {"--server": server, "--logits": numbers, "--layers": layers, "--python": package, "--node": program}
    chosen = {name: value for name, value in sources.items() if value is not None}
    if len(chosen) != 1:
        raise click.UsageError("Give one of --server, --logits, --layers, --python and --node.")
    if text is not None and ids is not None:
        raise click.UsageError("Give only one of --text and --ids.")
    data = map_file(model)
    about: dict[str, Any] = {"model": str(model), "profile": profile.fingerprint}
    with contract_failures(as_json, **about), progress("loading") as bar:
        validated = validate_model(data, profile)
        if layers is not None:
            own = ids if ids is not None else _prompt(validated, text if text is not None else TEXT)
            found = judge_layers(validated, profile, layers, names, _checked(own, validated), bar.describe)
            _tell_layers(found, about, as_json)
            return
        bar.describe("asking the engine")
        if numbers is not None:
            observed = _from_file(numbers, validated, text, ids, positions)
            judgement = _judged(validated, profile, observed, bar.describe)
        else:
            source, own_model = _source(server, package, program), engine_model or model
            with _failures(), source.opened(validated, own_model, positions + greedy) as engine:
                observed = _ask(engine, validated, text, ids, positions, greedy)
                judgement = _judged(validated, profile, observed, bar.describe)
                if laws:
                    bar.describe("checking laws")
                    kept = map(finding_of, check_laws(engine, observed.ids, judgement.rounding))
                    judgement = judgement.with_findings(kept)
    about["tokens"] = len(observed.ids)
    if html_path is not None:
        words = ["refruntime", "judge", str(model), *(str(part) for pair in chosen.items() for part in pair)]
        write_file(html_path, judge_page(judgement, about, shlex.join(words), __version__))
    if junit is not None:
        write_file(junit, judgement_junit(judgement))
    if as_json:
        write_json({**about, **judgement.to_dict()})
    else:
        _print(judgement, about)
    if not judgement.fine:
        raise click.exceptions.Exit(1)


def _judged(
    model: ValidatedModel, profile: Profile, observed: ObservedRows, say: Callable[[str], object]
) -> EngineJudgement:
    return Judge(model, profile, lambda name: say(f"computing {name}")).judge(observed)


def _tell_layers(found: LayersFinding, about: dict[str, Any], as_json: bool) -> None:
    document = layers_document(found)
    if as_json:
        write_json({**about, **document})
    else:
        print_layers(found)
    if not document["fine"]:
        raise click.exceptions.Exit(1)


@contextmanager
def _failures() -> Iterator[None]:
    """Exit 3 where an engine is missing, 1 where it fails, 2 for a bad address or command."""
    try:
        yield
    except EngineMissing as error:
        raise UnreadableFile(printable(str(error))) from error
    except EngineError as error:
        raise click.ClickException(printable(str(error))) from error
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _source(server: str | None, package: str | None, program: str | None) -> EngineSource:
    if package is not None:
        return EngineSource("python", package)
    return EngineSource("node", program) if program is not None else EngineSource("address", server or "")


def _ask(
    engine: AskedEngine, model: ValidatedModel, text: str | None, ids: list[int] | None, positions: int, greedy: int
) -> ObservedRows:
    given = None if ids is not None else (text if text is not None else TEXT)
    own = ids if ids is not None else _prompt(model, given or "")
    return ask_engine(engine, given, _checked(own, model), min(positions, model.hyperparameters.max_context), greedy)


def _from_file(
    path: Path, model: ValidatedModel, text: str | None, ids: list[int] | None, positions: int
) -> ObservedRows:
    try:
        with reachable(path):
            arrays = read_arrays(path)
        rows, logarithms = rows_of(arrays)
    except UnreadableNumbers as error:
        raise click.BadParameter(str(error), param_hint="--logits") from error
    own = ids if ids is not None else ids_of(arrays) if text is None else _prompt(model, text)
    if own is None:
        raise click.UsageError(f"{path} does not say which tokens its rows belong to; give --ids or --text.")
    if len(rows) > len(own):
        raise click.UsageError(f"{path} has {len(rows)} rows for {len(own)} tokens; give the ids of all.")
    first = len(own) - len(rows)  # fewer rows than tokens belong to the last ones
    places = tuple(range(first, len(own)))[:positions]
    kind = "log probabilities" if logarithms else "logits"
    return ObservedRows(str(path), tuple(_checked(own, model))[: places[-1] + 1], places, rows[: len(places)], kind)  # type: ignore[arg-type]


def _prompt(model: ValidatedModel, text: str) -> list[int]:
    ids = model.tokenizer.encode(text.encode())
    return ids[:-1] if len(ids) > 1 and ids[-1] == model.tokenizer.eos_id else ids


def _checked(ids: list[int], model: ValidatedModel) -> list[int]:
    return checked_tokens(ids, model.tokenizer, "judge")


def _print(judgement: EngineJudgement, about: dict[str, Any]) -> None:
    console = Console()
    console.print(
        f"{printable(judgement.source)}, {about['tokens']} tokens\n", highlight=False, markup=False, soft_wrap=True
    )
    for finding in judgement.findings:
        line = printable(f"{finding.verdict:<13}{finding.stage:<12} {finding.text}")
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for title, measured in (("distance from each arithmetic", judgement.measured), ("faults", judgement.tried)):
        if not measured:
            continue
        ranked = sorted(measured, key=lambda one: one.distance.typical)[:SHOWN]
        columns: tuple[str, ...] = ("typical / rounding", "worst / rounding", "largest")
        columns += ("nearest at",) if measured is judgement.measured else ()
        shown = plain_table(title, *columns, right=columns)
        for one in ranked:
            found = one.distance
            pairs = (found.typical, one.noise.band), (found.worst, one.noise.worst_band)
            texts = [f"{distance:.2g} / {band:.2g}" for distance, band in pairs]
            nearest = f"{one.nearest_at} of {len(found.places)}"
            add_row(shown, one.name, *[*texts, f"{found.largest:.2g}", nearest][: len(columns)])
        console.print(shown)
