"""Goldens as test items: collect, run on the build, report."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from refruntime.battery.features import Found, find_features
from refruntime.contract.profile import CONTRACT_VERSION
from refruntime.differential.case_result import CaseResult
from refruntime.differential.patience import Patience
from refruntime.differential.report.about import About
from refruntime.differential.report.case import case_lines
from refruntime.differential.run import Oracle
from refruntime.differential.runner import CaseRunner
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import FINE, Verdict
from refruntime.engines.base import Engine, EngineError, EngineMissing, InterfaceMismatch
from refruntime.golden.reading import GoldenError
from refruntime.golden.suite import GoldenSuite
from refruntime.golden.verify import verify
from refruntime.pytest_plugin.settings import PREFIX, VERIFY, PluginSettings

if TYPE_CHECKING:
    from refruntime.engines.wasm import WasmModule

PROPERTIES: Final = tuple(f"refruntime_{name}" for name in ("verdict", "steps", "fields", "lost", "absent"))


class GoldenFailure(Exception):
    """A golden failed; the text is the whole report."""


class BuildFailure(GoldenFailure):
    """The build differs or was stopped; this is what a known failure excuses."""


class GoldenPlugin:
    """The hooks of pytest, and what the items share.

    The build is compiled when the first golden runs, never while modules are imported: pytest must have put its fault
    handler in place before, which would otherwise take the build's traps for crashes.
    """

    def __init__(self, settings: PluginSettings) -> None:
        self.settings = settings
        self.patience = Patience()
        self.counts: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.absent: Counter[str] = Counter()
        self.refused = False

    # Hooks -------------------------------------------------------------------------------------------------------

    def pytest_configure(self, config: pytest.Config) -> None:
        """Register the markers, as `--strict-markers` asks."""
        entries = self.settings.goldens.index["cases"]
        config.addinivalue_line("markers", "golden: a golden of the TinyRustLM contract")
        for family in sorted({identifier.partition("/")[0] for identifier in entries}):
            config.addinivalue_line("markers", f"golden_{family}: goldens of the family {family}")
        for rule in sorted({rule for entry in entries.values() for rule in entry["rules"]}):
            config.addinivalue_line("markers", f"{rule}: goldens that pin the contract rule {rule}")

    def pytest_report_header(self) -> list[str]:
        """Say what is tested, with what."""
        settings, index = self.settings, self.settings.goldens.index
        answers = "of the goldens, frozen answers"
        if settings.live:
            answers = f"{settings.live}; the oracle computes the answers"
        return [
            f"refruntime: contract {CONTRACT_VERSION}, profile {settings.profile.fingerprint} ({answers})",
            f"refruntime: goldens {settings.goldens.corpus.root}, root {index['root']}",
            f"refruntime: build {settings.build}, sha256 {settings.sha256}",
        ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Add the goldens behind the tests that were collected, before `-k` and `-m` choose among all."""
        if self.settings.verifies:
            items.append(VerifyItem.from_parent(session, name="verify", nodeid=VERIFY, plugin=self))
        for identifier in self.settings.ids:
            node = PREFIX + identifier
            items.append(GoldenItem.from_parent(session, name=identifier, nodeid=node, plugin=self))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up what was compared; reports of worker processes arrive here too."""
        values = dict(report.user_properties)
        if report.when == "call" and PROPERTIES[0] in values:
            self.counts.update(cases=1, steps=int(str(values[PROPERTIES[1]])), fields=int(str(values[PROPERTIES[2]])))
            self.counts[f"verdict {values[PROPERTIES[0]]}"] += 1
            self.lost.update(str(values[PROPERTIES[3]]).split())
            self.absent.update(str(values[PROPERTIES[4]]).split())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how much was compared."""
        if not self.counts["cases"]:
            return
        verdicts = ", ".join(f"{self.counts[f'verdict {v}']} {v.label}" for v in Verdict if self.counts[f"verdict {v}"])
        terminalreporter.section("refruntime")
        sums = ", ".join(f"{self.counts[what]} {what}" for what in ("cases", "steps", "fields"))
        terminalreporter.write_line(f"{sums} compared: {verdicts}")
        if self.lost:
            names = ", ".join(f"{name} (in {count} cases)" for name, count in sorted(self.lost.items()))
            terminalreporter.write_line(f"not compared, because the build does not show it: {names}")
        if self.absent:
            names = ", ".join(
                f"{name} ({status}, {count} cases)"
                for (name, _, status), count in sorted((key.partition("="), n) for key, n in self.absent.items())
            )
            terminalreporter.write_line(f"absent, because the build refuses a plain file of it: {names}")

    # What items need -----------------------------------------------------------------------------------------------

    @cached_property
    def goldens(self) -> GoldenSuite:
        """Return the build against the frozen answers."""
        return replace(self.settings.goldens, build=self._fresh)

    @cached_property
    def suite(self) -> CaseRunner:
        """Return the build against what is right: the frozen answers, or the oracle where they are computed."""
        return Suite(self._fresh, Oracle(self.settings.profile)) if self.settings.live else self.goldens

    @cached_property
    def _compiled(self) -> WasmModule | GoldenFailure:
        """Return the compiled build, or why there is none: that is found out once."""
        try:
            from refruntime.engines.wasm import WasmModule

            return WasmModule(self.settings.module, self.settings.limits)
        except InterfaceMismatch as error:
            rows = "\n".join(f"  {problem}" for problem in error.problems)
            return BuildFailure(f"the surface differs (ABI-1, ABI-2):\n{rows}")
        except EngineMissing as error:
            return GoldenFailure(str(error))
        except EngineError as error:
            return BuildFailure(f"the build cannot be compiled: {error}")

    def _fresh(self) -> Engine:
        from refruntime.engines.wasm import WasmEngine

        if isinstance(self._compiled, GoldenFailure):
            raise self._compiled
        return WasmEngine(self._compiled, self.settings.limits)

    def judge(self, identifier: str) -> CaseResult:
        """Run one golden on a fresh instance: GoldenFailure when it cannot be run at all."""
        if isinstance(self._compiled, GoldenFailure):
            raise self._compiled
        if reason := self.patience.exhausted():
            raise BuildFailure(f"POISONED {identifier}: {reason}")
        try:
            if self.settings.live:
                case = self.goldens.open(identifier).case
            else:
                (case,) = self.goldens.cases([identifier])
            golden = self.suite.judge(case, self._offered, self.found)
        except (GoldenError, OSError) as error:
            raise GoldenFailure(f"STALE {identifier}: {error}") from error
        if self.found.refusal and golden.verdict is Verdict.UNSUPPORTED and not self.refused:
            self.refused = True  # one failure tells it, the other goldens are skipped
            raise GoldenFailure(f"ONLY_WASM_FAILED {identifier}: {self.found.refusal}")
        self.patience.saw(golden.verdict)
        return golden

    @cached_property
    def found(self) -> Found:
        """Return what the build was asked for and does not have: GoldenFailure where it lacks what all stands on."""
        settings = self.settings
        if not settings.live:
            return self.goldens.find(self.goldens.cases(settings.ids))
        cases = self.goldens.index["cases"]
        needed = {name for identifier in settings.ids for name in cases[identifier]["features"]}
        return find_features(self._fresh, settings.profile, needed)

    def absent_for(self, golden: CaseResult) -> str:
        """Return `NAME=STATUS` of the feature for want of which a golden was not judged; empty if it was."""
        if golden.verdict is not Verdict.UNSUPPORTED:
            return ""
        name = self.found.missing(self.settings.goldens.index["cases"][golden.case.name]["features"])
        return f"{name}={self.found.absent[name].name}" if name else ""

    @cached_property
    def _offered(self) -> frozenset[str]:
        return self.suite.offered()

    def report(self, golden: CaseResult) -> str:
        """Return what happened, as `refruntime diff` says it."""
        settings = self.settings
        root = settings.goldens.corpus.root
        words = shlex.join(["refruntime", "diff", str(settings.build), "--golden", str(root)])
        about = About(settings.build.name, settings.sha256, settings.profile, command=words)
        lines = case_lines(golden, about)
        last = lines.pop()
        if settings.live:  # the frozen answers are those of another profile
            last = last.replace(
                f"{words} --filter {golden.case.name}", f"the same options and {PREFIX}{golden.case.name}"
            )
        return "\n".join([*lines, last])


class _Item(pytest.Item):
    """What both kinds of items share."""

    def __init__(self, *, plugin: GoldenPlugin, **named: object) -> None:
        super().__init__(**named)  # type: ignore[arg-type]
        self.plugin = plugin
        self.add_marker("golden")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> Any:
        """Return the report alone for a failed golden, a traceback for a bug of this plugin."""
        return str(excinfo.value) if isinstance(excinfo.value, GoldenFailure) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return a place like the node id, and what heads a failure."""
        return self.config.rootpath / self.nodeid.partition("::")[0], None, f"golden {self.name}"


class GoldenItem(_Item):
    """One golden."""

    def __init__(self, *, plugin: GoldenPlugin, **named: object) -> None:
        super().__init__(plugin=plugin, **named)
        family = self.name.partition("/")[0]
        rules = plugin.settings.goldens.index["cases"][self.name]["rules"]
        for marker in (f"golden_{family}", *rules):
            self.add_marker(marker)
        excuse = plugin.settings.excuses.get(self.name)
        if excuse is not None:
            reason = f"{excuse} ({plugin.settings.excuses_file})"
            self.add_marker(pytest.mark.xfail(reason=reason, strict=True, raises=BuildFailure))

    def runtest(self) -> None:
        """Run the golden on a fresh instance of the build."""
        golden = self.plugin.judge(self.name)
        comparison = golden.comparison
        fields, lost = sum(comparison.compared.values()), " ".join(sorted(comparison.lost))
        values = (golden.verdict, comparison.steps, fields, lost, self.plugin.absent_for(golden))
        self.user_properties += [(name, str(value)) for name, value in zip(PROPERTIES, values, strict=True)]
        if golden.verdict is Verdict.UNSUPPORTED:
            pytest.skip(golden.reason)
        if golden.verdict in (Verdict.STALE, Verdict.ORACLE_CRASH):
            raise GoldenFailure(self.plugin.report(golden))
        if golden.verdict not in FINE:
            raise BuildFailure(self.plugin.report(golden))


class VerifyItem(_Item):
    """The goldens themselves: every hash is recomputed, and every case that lies in the folder is in the index."""

    def runtest(self) -> None:
        """Verify the corpus."""
        found = verify(self.plugin.settings.goldens.corpus, partial=True)
        if found.findings:
            rows = [f"  {finding}" for finding in found.findings]
            raise GoldenFailure("\n".join(["the goldens are not what INDEX.json says:", *rows]))
