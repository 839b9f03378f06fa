"""The command line: which commands exist, and what every outcome means as an exit code.

0 fine; 1 a failure that the contract defines, or a mismatch; 2 wrong usage; 3 a missing tool or file; 4 a bug in the
oracle; 130 interrupted, 141 nobody reads the output any more, as shells count them.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem

from refruntime import __version__
from refruntime.commands.groups import ListedGroup
from refruntime.memory_limit import BadSetting, memory_limit

EXIT_USAGE = 2
EXIT_MISSING = 3
EXIT_CRASH = 4
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141


class Listed(NamedTuple):
    """What the list of commands knows of one without importing it: where it lives, and its first sentence."""

    home: str
    summary: str


COMMANDS = {
    "demo": Listed(
        "refruntime.commands.demo.command:demo_command",
        "Show in a screenful what this is for: right answers, why a token won, "
        "the first wrong number of a wrong build.",
    ),
    "run": Listed(
        "refruntime.commands.run:run_command",
        "Generate text from PROMPT with MODEL, an SLM1 or GGUF file.",
    ),
    "chat": Listed(
        "refruntime.commands.chat.command:chat_command",
        "Talk to MODEL, a GGUF file with a chat template, for several turns.",
    ),
    "logits": Listed(
        "refruntime.commands.logits:logits_command",
        "Compute the logits of every position of PROMPT: float32 [T, V], or float64 with --numerics f64.",
    ),
    "embed": Listed(
        "refruntime.commands.embed:embed_command",
        "Embed each TEXT with the encoder MODEL, a GGUF file of bert or nomic-bert.",
    ),
    "repl": Listed(
        "refruntime.commands.repl.session:repl_command",
        "Debug sampling with MODEL, an SLM1 or GGUF file: step, go back, branch, ask why a token won.",
    ),
    "trace": Listed(
        "refruntime.commands.trace:trace_command",
        "Show what MODEL computes on the way from PROMPT to the logits: shape, range and first values of each tensor.",
    ),
    "plot": Listed(
        "refruntime.commands.plot:plot_command",
        "Draw what MODEL does behind PROMPT: its candidates, its entropy, where a head looks, "
        "how exact its numbers are.",
    ),
    "compare": Listed(
        "refruntime.commands.compare:compare_command",
        "Run model A and model B over the same tokens: KL divergence, same best token, error of every layer.",
    ),
    "inspect": Listed(
        "refruntime.commands.inspect:inspect_command",
        "Say what MODEL is, in a few lines, and check everything that loading checks.",
    ),
    "tokenize": Listed(
        "refruntime.commands.tokenize:tokenize_command",
        "Encode TEXT with the tokenizer of MODEL, an SLM1 or GGUF file; a GGUF file needs no tensors for that.",
    ),
    "convert": Listed(
        "refruntime.commands.convert:convert_command",
        "Convert IN to OUT: GGUF to SLM1, SLM1 to GGUF, or SLM1 to another type.",
    ),
    "identify": Listed(
        "refruntime.commands.identify:identify_command",
        "Ask the WebAssembly module BUILD what it is: features, names, texts, and every option of the contract.",
    ),
    "seal": Listed(
        "refruntime.commands.seal:seal_command",
        "Write the SLM1 model FILE again with the checksum that a build computes for it.",
    ),
    "diff": Listed(
        "refruntime.commands.diff.command:diff_command",
        "Compare the WebAssembly module BUILD with the oracle: statuses, diagnostics, logits, results, bit for bit.",
    ),
    "fuzz": Listed(
        "refruntime.commands.fuzz:fuzz_command",
        "Run random sessions over the 13 exports on the module BUILD and on the oracle, and shrink where they differ.",
    ),
    "campaign": Listed(
        "refruntime.commands.campaign:campaign_command",
        "Compare every BUILD with the oracle, and keep each result in DIR, which is empty at first.",
    ),
    "witness": Listed(
        "refruntime.commands.witness:witness_command",
        "Stop one generation of the module BUILD at many points and compare its memory with the oracle, "
        "number by number.",
    ),
    "orders": Listed(
        "refruntime.commands.orders:orders_command",
        "Read the order of arithmetic off the memory of the module BUILD: which forms give the bits that lie there.",
    ),
    "judge": Listed(
        "refruntime.commands.judge:judge_command",
        "Judge an engine that runs MODEL: its tokens, logits and greedy path, and why they differ where they do.",
    ),
    "record": Listed(
        "refruntime.commands.record:record_command",
        "Turn RECORDING, which golden/record.mjs wrote in a page, into case.json and answers.json in DIR.",
    ),
    "fill": Listed(
        "refruntime.commands.fill:fill_command",
        "Compute the answers of golden cases and write expect.json, arrays and INDEX.json.",
    ),
    "verify": Listed(
        "refruntime.commands.verify:verify_command",
        "Recompute every hash of the goldens, and hold them against their format and the contract.",
    ),
    "corpus": Listed(
        "refruntime.commands.corpus:corpus_command",
        "Write malformed SLM1 and GGUF files with the status that each must give.",
    ),
    "golden": Listed(
        "refruntime.commands.golden.command:golden_command",
        "List, pack or serve the goldens.",
    ),
    "contract": Listed(
        "refruntime.commands.contract:contract_command",
        "Show the contract: exports, status codes and every rule with its source and options.",
    ),
}
"""Commands by name, in the order of a first visit; one is imported when it is used, none to list them."""


class CommandGroup(ListedGroup):
    """A group that imports a command only when it is named, or when all are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order of a first visit."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].home.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def sentences(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Return each command with its first sentence, and import none."""
        return [(name, listed.summary) for name, listed in COMMANDS.items()]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return what a shell may put after `refruntime`: commands with their sentences, and options."""
        found = [
            CompletionItem(name, help=listed.summary)
            for name, listed in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


@click.command(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Start here:
  refruntime demo
  refruntime run model.gguf "Once upon a time" -n 32

Exit codes: 0 fine, 1 a failure that the contract defines or a mismatch, 2 wrong usage, 3 a missing tool or file,
4 a bug in the oracle.
""",
)
@click.version_option(__version__, prog_name="refruntime")
@click.option("--traceback", "show_traceback", is_flag=True, help="After a bug in the oracle, show where it happened.")
@click.pass_context
def cli(ctx: click.Context, show_traceback: bool) -> None:
    """Reference runtime for the TinyRustLM WebAssembly ABI: answers that a build must match bit for bit."""
    ctx.obj = {"traceback": show_traceback}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; nothing but an interrupt of the interpreter escapes."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as in `>&-`: what is written there is lost, no bug
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
    try:
        memory_limit()  # a setting that cannot be read is told before any work
        result = cli.main(args=argv, prog_name="refruntime", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:  # usage errors are 2, others say their code
        shown = io.StringIO()
        error.show(shown)
        click.echo(_printable(shown.getvalue()), err=True, nl=False)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except SystemExit as stop:  # click ends so behind a completion, and when the reader of a pipe has seen enough
        return EXIT_PIPE_CLOSED if "_REFRUNTIME_COMPLETE" not in os.environ else int(bool(stop.code))
    except BadSetting as error:
        click.echo(f"refruntime: {error}", err=True)
        return EXIT_USAGE
    except OSError as error:
        click.echo(_printable(f"refruntime: {error}"), err=True)
        _give_up_unwritable_output()
        return EXIT_MISSING
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and _is_missing_engine(error):
            click.echo(f"refruntime: {error}", err=True)
            return EXIT_MISSING
        return _crash(error, show_traceback="--traceback" in argv)


def _is_missing_engine(error: ModuleNotFoundError) -> bool:
    """Say whether an extra is not installed that a command needs from its first import on."""
    from refruntime.engines.base import EngineMissing

    return isinstance(error, EngineMissing)


def _give_up_unwritable_output() -> None:
    """Drop what cannot be written: the interpreter would try again at its end, and exit with a code of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _printable(message: str) -> str:
    """Return a message that may quote a file, a template or an argument, harmless for a terminal."""
    from refruntime.visible import printable

    return printable(message)


def _crash(error: Exception, *, show_traceback: bool) -> int:
    click.echo(_printable(f"refruntime: this is a bug in the oracle: {type(error).__name__}: {error}"), err=True)
    if show_traceback:
        click.echo(_printable("".join(traceback.format_exception(error))), err=True, nl=False)
    else:
        click.echo("Run again as `refruntime --traceback ...` and report what it prints.", err=True)
    return EXIT_CRASH
