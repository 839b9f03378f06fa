"""What `refruntime diff` was asked for: a build with the oracle, with goldens, or a recording. One request each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from refruntime import resources
from refruntime.commands.diff.live import QUIET, VERBOSE
from refruntime.commands.diff.report import Output
from refruntime.commands.files import UnreadableFile, read_profile
from refruntime.contract.profile import Profile
from refruntime.numerics.varied import Variation


@dataclass(frozen=True)
class CaseSelection:
    """Which cases: those of the battery that fit `patterns`, with `models` beside its own, or random sessions."""

    patterns: tuple[str, ...] = ()
    models: tuple[Path, ...] = ()
    sessions: int | None = None
    seed: int = 1

    @property
    def words(self) -> list[str]:
        """Return the arguments that choose the same models and sessions again."""
        chosen = [word for path in self.models for word in ("--model", str(path))]
        return chosen + ([] if self.sessions is None else ["--random", str(self.sessions), "--seed", str(self.seed)])

    @property
    def kind(self) -> str:
        """Return what the cases are, as `LastRun` tells runs apart."""
        return "battery" if self.sessions is None else f"random {self.sessions} {self.seed}"


@dataclass(frozen=True)
class RunOptions:
    """How much of it runs: `seconds` for a call, `budget` seconds for all, until `max_fail` cases are not fine."""

    seconds: float
    budget: float | None
    max_fail: int | None
    last_failed: bool
    only_list: bool


@dataclass(frozen=True)
class BuildRequest:
    """A build against the oracle."""

    build: Path
    selection: CaseSelection
    run: RunOptions
    profile_path: Path | None
    jobs: int | None
    explains: bool
    kernels: str
    variation: Variation | str | None
    new_profile: Path | None
    identifies: str
    output: Output

    @property
    def profile(self) -> Profile | None:
        """Return the profile that was given."""
        return None if self.profile_path is None else read_profile(self.profile_path)

    @property
    def profile_words(self) -> list[str]:
        """Return the arguments that give the same profile again."""
        return [] if self.profile_path is None else ["--profile", str(self.profile_path)]


@dataclass(frozen=True)
class GoldenRequest:
    """A build against the frozen answers of a folder."""

    folder: Path
    build: Path
    patterns: tuple[str, ...]
    run: RunOptions
    output: Output

    @property
    def as_json(self) -> bool:
        """Say whether one document for machines is wanted."""
        return self.output.as_json


@dataclass(frozen=True)
class RecordedRequest:
    """What a build answered in a page, against the oracle."""

    folder: Path
    patterns: tuple[str, ...]
    profile_path: Path | None
    explains: bool
    kernels: str
    output: Output


@dataclass(frozen=True)
class CommandLine:
    """The options of the command as they were given; each is explained where it is declared."""

    build: Path | None
    golden: str | None
    recorded: Path | None
    patterns: tuple[str, ...]
    models: tuple[Path, ...]
    profile_path: Path | None
    sessions: int | None
    seed: int
    only_list: bool
    jobs: int | None
    max_fail: int | None
    fail_fast: bool
    last_failed: bool
    quiet: bool
    verbose: bool
    timeout: float
    budget: float | None
    explains: bool
    kernels: str
    variation: Variation | str | None
    new_profile: Path | None
    identifies: str
    junit_path: Path | None
    html_path: Path | None
    markdown_path: Path | None
    github: bool
    as_json: bool

    def of_build(self) -> BuildRequest:
        """Return the request of a comparison with the oracle: a usage error without a build."""
        if self.build is None:
            raise click.UsageError("Missing argument 'BUILD'.")
        identifies = self.identifies
        if self.new_profile is not None:
            if identifies == "never":
                raise click.UsageError("--write-profile identifies the build; it cannot be used with --identify never.")
            identifies = "always"
        return BuildRequest(
            build=self.build,
            selection=CaseSelection(self.patterns, self.models, self.sessions, self.seed),
            run=self._run,
            profile_path=self.profile_path,
            jobs=self.jobs,
            explains=self.explains,
            kernels=self.kernels,
            variation=self.variation,
            new_profile=self.new_profile,
            identifies=identifies,
            output=self._output,
        )

    def of_goldens(self) -> GoldenRequest:
        """Return the request of a comparison with goldens: a usage error with what frozen answers cannot follow."""
        unfit: dict[str, object] = {
            "--model": self.models,
            "--profile": self.profile_path,
            "--random": self.sessions,
            "--write-profile": self.new_profile,
            "--recorded": self.recorded,
            "--numerics-variation": self.variation,
        }
        self._refuse(unfit, "{} cannot be used with --golden: the answers are frozen")
        output = self._output
        folder, build = _golden_folder(self.golden or "", self.build)
        return GoldenRequest(folder, build, self.patterns, self._run, output)

    def of_recording(self) -> RecordedRequest:
        """Return the request of a comparison of a recording: a usage error with what needs a build here."""
        if self.recorded is None:
            raise click.UsageError("Missing option '--recorded'.")
        unfit: dict[str, object] = {
            "BUILD": self.build,
            "--model": self.models,
            "--random": self.sessions,
            "--write-profile": self.new_profile,
            "--list": self.only_list,
            "--last-failed": self.last_failed,
            "--numerics-variation": self.variation,
        }
        self._refuse(unfit, "--recorded takes no {}.")
        output = self._output
        return RecordedRequest(self.recorded, self.patterns, self.profile_path, self.explains, self.kernels, output)

    @property
    def _run(self) -> RunOptions:
        most = 1 if self.fail_fast else self.max_fail
        return RunOptions(self.timeout, self.budget, most, self.last_failed, self.only_list)

    @property
    def _output(self) -> Output:
        if self.quiet and self.verbose:
            raise click.UsageError("--quiet and --verbose exclude each other.")
        verbosity = VERBOSE if self.verbose else QUIET if self.quiet else 0
        return Output(self.junit_path, self.github, self.as_json, verbosity, self.html_path, self.markdown_path)

    def _refuse(self, unfit: dict[str, object], text: str) -> None:
        name = next((name for name, value in unfit.items() if value), None)
        if name is not None:
            raise click.UsageError(text.format(name))


def _golden_folder(value: str, build: Path | None) -> tuple[Path, Path]:
    """Return folder and build of `--golden [DIR] BUILD`; without BUILD the value of the option is the build."""
    if build is None:
        if not value:
            raise click.UsageError("Missing argument 'BUILD'.")
        value, build = "", Path(value)
    folder = Path(value) if value else resources.golden_folder()
    if not folder.is_dir():
        raise UnreadableFile(f"{folder}: there is no such folder of goldens")
    return folder, build
