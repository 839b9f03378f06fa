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
from difflib import get_close_matches
from importlib import import_module

import click

from refruntime import __version__
from refruntime.memory_limit import BadSetting, memory_limit

EXIT_USAGE = 2
EXIT_MISSING = 3
EXIT_CRASH = 4
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141

COMMANDS = {
    "demo": "refruntime.commands.demo.command:demo_command",
    "run": "refruntime.commands.run:run_command",
    "logits": "refruntime.commands.logits:logits_command",
    "repl": "refruntime.commands.repl.session:repl_command",
    "trace": "refruntime.commands.trace:trace_command",
    "plot": "refruntime.commands.plot:plot_command",
    "compare": "refruntime.commands.compare:compare_command",
    "inspect": "refruntime.commands.inspect:inspect_command",
    "tokenize": "refruntime.commands.tokenize:tokenize_command",
    "convert": "refruntime.commands.convert:convert_command",
    "identify": "refruntime.commands.identify:identify_command",
    "seal": "refruntime.commands.seal:seal_command",
    "diff": "refruntime.commands.diff.build:diff_command",
    "witness": "refruntime.commands.witness:witness_command",
    "orders": "refruntime.commands.orders:orders_command",
    "record": "refruntime.commands.record:record_command",
    "fill": "refruntime.commands.fill:fill_command",
    "verify": "refruntime.commands.verify:verify_command",
    "corpus": "refruntime.commands.corpus:corpus_command",
    "golden": "refruntime.commands.golden.command:golden_command",
    "contract": "refruntime.commands.contract:contract_command",
}
"""Command name -> where it lives; a command is imported when it is used."""


SENTENCE = 1000
"""Letters that the summary of a command may have: it ends with its sentence, not before."""


class CommandGroup(click.Group):
    """A group that imports a command only when it is named, or when all are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order of a first visit."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with the whole first sentence of each."""
        rows = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, found.get_short_help_str(SENTENCE)) for name, found in rows if found is not None]
            )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name; a mistyped one gets a suggestion."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if near := get_close_matches(args[0], COMMANDS, 1, 0.5):
                raise click.UsageError(f"{error.message} Did you mean '{near[0]}'?", ctx) from error
            raise


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
        return EXIT_MISSING
    except Exception as error:
        return _crash(error, show_traceback="--traceback" in argv)


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
