"""`refruntime diff`: the command line. What was asked for becomes one of three requests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from refruntime.commands.build_options import build_profile_option, kernels_option, timeout_option
from refruntime.commands.diff.build import compare_build
from refruntime.commands.diff.golden import diff_goldens
from refruntime.commands.diff.meet import identify_option
from refruntime.commands.diff.recorded import compare_recorded
from refruntime.commands.diff.request import CommandLine
from refruntime.commands.files import ModelPath, path_option
from refruntime.commands.shared import html_option, json_option
from refruntime.commands.variation import variation_option


@click.command(
    "diff",
    epilog="""\b
Examples:
  refruntime diff build.wasm
  refruntime diff build.wasm --filter sampler --filter GEN-9
  refruntime diff build.wasm --model stories.gguf --profile build.toml --junit report.xml
  refruntime diff build.wasm --random 10000 --seed 7
  refruntime diff --recorded chat
  refruntime diff build.wasm --json | jq .summary
  refruntime diff build.wasm --golden --filter sampling
  refruntime diff build.wasm --html report.html
  refruntime diff build.wasm --last-failed --max-fail 3 -v
""",
)
@click.argument("build", required=False, type=click.Path(path_type=Path))
@click.option(
    "--golden",
    metavar="[DIR]",
    is_flag=False,
    flag_value="",
    help="Hold the build against frozen answers instead of the battery; by default the project's own.",
)
@path_option(
    "--recorded", metavar="DIR", help="Instead of a BUILD: what one answered in a page, from `refruntime record`."
)
@click.option(
    "--filter",
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="Run only these cases: a name, a family, a rule, or a shell pattern. Several are allowed.",
)
@click.option(
    "--model",
    "models",
    metavar="FILE",
    multiple=True,
    type=ModelPath(),
    help="Generate with this model too (family `generate`). Several are allowed.",
)
@build_profile_option
@click.option(
    "--random",
    "sessions",
    metavar="N",
    type=click.IntRange(min=1),
    help="Run N random sessions instead of the battery; --seed chooses them.",
)
@click.option("--seed", type=click.IntRange(0, 2**31), default=1, show_default=True, help="Seed of --random.")
@click.option("--list", "only_list", is_flag=True, help="List the cases and the rules that they cite; run nothing.")
@click.option(
    "-j",
    "--jobs",
    metavar="N",
    type=click.IntRange(min=1),
    help="Compare in N processes; the report is the same for every N. By default as many as there are processors.",
)
@click.option(
    "--max-fail",
    metavar="N",
    type=click.IntRange(min=1),
    help="Stop after N cases that are not fine.",
)
@click.option("--fail-fast", is_flag=True, help="Stop after the first case that is not fine: --max-fail 1.")
@click.option("--last-failed", is_flag=True, help="Run only the cases of this build that were not fine the last time.")
@click.option("-q", "--quiet", is_flag=True, help="Name each case that is not fine in a line, and the sums.")
@click.option("-v", "--verbose", is_flag=True, help="Name every case, and show all values and rules of a divergence.")
@timeout_option(20.0)
@click.option(
    "--budget",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds for the whole run; what is not compared by then is POISONED, and the exit code 1.",
)
@click.option(
    "--explain/--no-explain",
    "explains",
    default=True,
    show_default=True,
    help="Try known causes on the first cases that are not fine.",
)
@kernels_option
@variation_option
@path_option(
    "--write-profile",
    "new_profile",
    help="Identify the build first, compare under what was found, and write that as a profile (see identify).",
)
@identify_option
@path_option("--junit", "junit_path", help="Write JUnit XML too.")
@html_option
@path_option("--markdown", "markdown_path", help="Write the report as Markdown too, as job summaries take it.")
@click.option(
    "--github/--no-github",
    default=lambda: os.environ.get("GITHUB_ACTIONS") == "true",
    show_default="on in GitHub Actions",
    help="Write workflow annotations too.",
)
@json_option
def diff_command(**words: Any) -> None:
    """Compare the WebAssembly module BUILD with the oracle: statuses, diagnostics, logits, results, bit for bit.

    Without --filter the whole battery runs: states, statuses, containers, generation, sampler, limits. Exit codes: 0
    every case is fine, 1 some case is not or nothing was compared, 2 wrong usage, 3 a missing tool or file, 4 a bug in
    the oracle.
    """
    asked = CommandLine(**words)
    if asked.golden is not None:
        diff_goldens(asked.of_goldens())
    elif asked.recorded is not None:
        compare_recorded(asked.of_recording())
    else:
        compare_build(asked.of_build())
