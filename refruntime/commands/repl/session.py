"""`refruntime repl`: debug sampling word by word, in a terminal or from a script."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.console import Console
from rich.text import Text

from refruntime.commands.build_options import build_profile_option
from refruntime.commands.files import ModelPath, UnreadableFile, path_option, read_profile
from refruntime.commands.golden.folder import golden_option
from refruntime.commands.repl.logits import check_logits_options, imported_place, logits_options
from refruntime.commands.run_chain import CHAINS_OF_RUN, read_settings
from refruntime.commands.shared import (
    NumericsChoice,
    contract_failures,
    finite,
    map_file,
    numerics_option,
    progress,
    unknown_bytes_option,
)
from refruntime.contract.profile import Profile
from refruntime.resources import demo_model, trained_artifacts

if TYPE_CHECKING:
    from refruntime.cases.steps import Case
    from refruntime.identify.sealed_engine import Fitting
    from refruntime.repl.node import Node
    from refruntime.repl.tools import Tools
    from refruntime.samplers.llama_cpp_chain import LlamaSettings
    from refruntime.session.compared import ComparedBuild

EXIT_MISSING = 3


@click.command(
    "repl",
    epilog="""\b
Examples:
  refruntime repl
  refruntime repl stories.slm1
  refruntime repl --case sampling/ties-at-the-cut --until 2 --wasm build.wasm
  refruntime repl --logits step.npy --tokenizer stories.slm1
  refruntime repl stories.slm1 --chain llama.cpp --set temp=0.9 --set top_n_sigma=1.5 --seed 7
  printf 'prompt "Once"\\nset temperature=1 top_k=40\\nstep 3\\nwhy\\n' | refruntime repl stories.slm1
""",
)
@click.argument("model", required=False, type=ModelPath())
@click.option("--case", "case_name", metavar="ID", help="Begin behind the calls of this golden or battery case.")
@click.option("--until", metavar="N", type=click.IntRange(min=0), help="Stop behind step N of the case, from 0.")
@logits_options
@click.option("--chain", type=click.Choice(CHAINS_OF_RUN), help="Draw by the samplers of another runtime.")
@click.option("--set", "assignments", metavar="NAME=VALUE", multiple=True, help="A setting of --chain, such as temp=1.")
@click.option("--seed", type=click.IntRange(min=0), help="The seed of --chain; 1 if none is given.")
@path_option("--wasm", metavar="BUILD", help="The build that `diff` compares with.")
@build_profile_option
@unknown_bytes_option
@numerics_option
@golden_option
@click.option("--keep-going", is_flag=True, help="In a script: go on after a word that failed.")
@click.option("--json", "as_json", is_flag=True, help="In a script: answer each word with one JSON object on a line.")
def repl_command(
    model: Path | None,
    case_name: str | None,
    until: int | None,
    logits: Path | None,
    tokenizer: Path | None,
    chain: str | None,
    assignments: tuple[str, ...],
    seed: int | None,
    wasm: Path | None,
    profile_path: Path | None,
    unknown_bytes: str,
    numerics: NumericsChoice,
    golden: Path,
    keep_going: bool,
    as_json: bool,
) -> None:
    """Debug sampling with MODEL, an SLM1 or GGUF file: step, go back, branch, ask why a token won.

    Without arguments the project's own story model is taken. With --case MODEL may be left out; given, it stands in
    for every model that the case loads. With --logits there is no model: the sampler alone is debugged, on logits of
    another runtime. With --chain the tokens of the model that is opened first are drawn by llama.cpp's samplers; the
    word `chain` says what each leaves, changes settings, and brings the contract's sampler back. In a terminal `help`
    lists the words. Otherwise words are read from standard input, one a line.
    Exit codes of a script: 0 every word was obeyed, 1 a word failed, 2 a line is no word, 3 a file is missing, 4 a bug
    in the oracle.
    """
    check_logits_options(logits, tokenizer, {"MODEL": model, "--case": case_name, "--wasm": wasm})
    if chain is None and (assignments or seed is not None):
        raise click.UsageError("--set and --seed go with --chain.")
    settings = read_settings(assignments)
    if until is not None and case_name is None:
        raise click.UsageError("--until belongs to --case.")
    if [model, case_name, logits] == [None, None, None]:
        model = demo_model()
    if sys.stdin is None:
        _refuse(EXIT_MISSING, "standard input is closed; expected a terminal, or words one a line")
    in_terminal = sys.stdin.isatty() and sys.stdout is not None and sys.stdout.isatty() and not as_json
    if in_terminal:
        _need_prompt_toolkit()
    from refruntime.golden.corpus import Corpus
    from refruntime.repl.tools import Tools

    given = None if profile_path is None else read_profile(profile_path)
    data = b"" if model is None else map_file(model)
    build, met = _build(wasm, given, len(data))
    profile = met.profile if met is not None else given or Profile()
    tools = Tools(profile, numerics.make(), build=build, golden=Corpus(golden), show_progress=progress)
    tools.unknown_bytes = unknown_bytes
    tools.own = met.own if met is not None else tools.own
    with contract_failures(as_json):
        imported = None if logits is None else imported_place(logits, tokenizer, profile)
        node = imported if imported is not None else _begin(tools, model, case_name, until)
    if chain is not None:
        node = _with_chain(node, settings, 1 if seed is None else seed)
    if in_terminal:  # a person reads and types before the first word; loading costs none of their time then
        threading.Thread(target=tools.numerics.prepare, daemon=True).start()
    code = _talk(tools, node, keep_going, as_json, in_terminal)
    if code:
        raise click.exceptions.Exit(code)


def _need_prompt_toolkit() -> None:
    if find_spec("prompt_toolkit") is None:
        message = "a terminal needs prompt-toolkit: pip install 'refruntime[repl]'; words on standard input do not"
        _refuse(EXIT_MISSING, message)


def _refuse(code: int, message: str) -> NoReturn:
    click.echo(f"refruntime repl: {message}", err=True)
    raise click.exceptions.Exit(code)


# Where a session begins ----------------------------------------------------------------------------------------------


def _build(wasm: Path | None, given: Profile | None, model_bytes: int) -> tuple[ComparedBuild | None, Fitting | None]:
    """Compile the build and say how it is met; exits with 3 without wasmtime, 1 for another surface, 2 for none."""
    if wasm is None:
        return None, None
    from refruntime.engines.base import EngineError, EngineMissing, InterfaceMismatch, Limits
    from refruntime.engines.declaration import ContractRefused, DeclarationError, read_declaration, resolve_contract
    from refruntime.identify.sealed_engine import fit_build
    from refruntime.session.compared import LATER_BYTES, ComparedBuild

    module, limits = bytes(map_file(wasm)), Limits.beside([model_bytes, LATER_BYTES], Limits().seconds)
    try:
        profile = resolve_contract(read_declaration(module), given).profile
        build = ComparedBuild.compiled(wasm.name, module, limits)
    except EngineMissing as error:
        _refuse(EXIT_MISSING, str(error))
    except InterfaceMismatch as error:
        _refuse(1, f"the surface differs (ABI-1, ABI-2): {error}")
    except (EngineError, DeclarationError, ContractRefused) as error:
        _refuse(2, str(error))
    met = fit_build(module, build.fresh, profile, limits)
    return replace(build, fresh=met.fresh, fit=met.fit), met


def _begin(tools: Tools, model: Path | None, case_name: str | None, until: int | None) -> Node:
    from refruntime.repl.node import Node

    if case_name is None:
        return tools.opened(tools.add_model(model)) if model is not None else Node()
    case, specs = _case(tools, case_name)
    if model is not None:
        stand_in = bytes(map_file(model))
        case, specs = replace(case, models=dict.fromkeys(case.models, stand_in)), {}
    last = len(case.steps) - 1 if until is None else until
    if last >= len(case.steps):
        raise click.BadParameter(f"{case_name} has the steps 0 .. {len(case.steps) - 1}", param_hint="--until")
    tools.models.update(case.models)
    tools.specs = specs
    node = Node()
    with tools.progress(f"running {case_name}", last + 1) as advance:
        for step in case.steps[: last + 1]:
            node, _ = tools.call(node, step)
            advance(1)
    return node


def _with_chain(node: Node, settings: LlamaSettings, seed: int) -> Node:
    """Let llama.cpp's samplers draw from here on; a usage error where no model is resident."""
    from refruntime.session.chain_draws import ChainDraws

    if node.session is None:
        raise click.UsageError(f"--chain needs a session: {node.absent}.")
    return replace(node, session=node.session.chain(ChainDraws(settings, seed)))


def _case(tools: Tools, name: str) -> tuple[Case, Mapping[str, Any]]:
    """Find a case by its id: a golden, or else one of the battery; a usage error for neither."""
    from refruntime.battery.catalogue import default_battery
    from refruntime.golden.reading import GoldenError

    try:
        if name in tools.golden.ids():
            golden = tools.golden.case(name)
            return golden.case(tools.golden.artifact), golden.document.get("models", {})
    except (OSError, GoldenError) as error:
        raise UnreadableFile(str(error)) from error
    found = [case for case in default_battery(tools.profile, trained_artifacts(), [name]) if case.name == name]
    if not found:
        from refruntime.commands.diff.selection import unknown_filter

        known = {case.name: case.rules for case in default_battery(tools.profile, trained_artifacts())}
        known = dict.fromkeys(tools.golden.ids(), ()) | known
        message = f"{unknown_filter(name, known)}; `refruntime golden list` names the goldens"
        raise click.BadParameter(message, param_hint="--case")
    return found[0], {}


# Talking -------------------------------------------------------------------------------------------------------------


def _talk(tools: Tools, node: Node, keep_going: bool, as_json: bool, in_terminal: bool) -> int:
    from refruntime.repl.node import Branches
    from refruntime.repl.shell import ScriptOutput, Shell, run_script
    from refruntime.repl.words.table import all_words

    shell = Shell(tools, all_words(), Branches(node))
    console, errors = Console(), Console(stderr=True)
    if in_terminal:
        from refruntime.repl.terminal import run_terminal

        console.print(Text(_greeting(node)))
        return run_terminal(shell, console, errors)
    write = _json_line if as_json else None
    if isinstance(sys.stdin, TextIOWrapper):  # bytes that are no text are a word's to refuse
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    return run_script(shell, sys.stdin, ScriptOutput(console, errors, write_json=write), keep_going)


def _greeting(node: Node) -> str:
    session = node.session
    if session is None:
        return f"{len(node.script)} calls, {node.absent}. `help` lists the words."
    about = f"{session.subject.name}: {session.subject.tokenizer.vocab_size} tokens, "
    return f"{about}{session.subject.prefix_cache.capacity} positions. `help` lists the words."


def _json_line(document: Mapping[str, Any]) -> None:
    click.echo(json.dumps(finite(document), allow_nan=False))
    sys.stdout.flush()
