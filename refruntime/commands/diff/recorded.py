"""`refruntime diff --recorded`: what a build answered in a page against the oracle."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from refruntime.battery.catalogue import select
from refruntime.commands.diff.report import conditions, make_numerics, page_extra, refuse, resolved_contract
from refruntime.commands.diff.request import RecordedRequest
from refruntime.commands.diff.selection import check_filters
from refruntime.commands.files import read_profile
from refruntime.commands.record import read_recorded
from refruntime.commands.shared import progress
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.differential.run import Oracle
from refruntime.differential.verdict import EXIT_MISMATCH
from refruntime.engines.declaration import parse_declaration
from refruntime.hypotheses.explain import Explainer
from refruntime.recordings.suite import recorded_suite


def compare_recorded(request: RecordedRequest) -> NoReturn:
    """Compare what a build answered elsewhere, and exit."""
    folder, patterns, output = request.folder, request.patterns, request.output
    given = None if request.profile_path is None else read_profile(request.profile_path)
    repeated = [] if request.profile_path is None else ["--profile", str(request.profile_path)]
    case, found = read_recorded(folder)
    build, content = found.build, found.build.declaration
    declared = (lambda: None) if content is None else (lambda: parse_declaration(content.encode()))
    resolved = resolved_contract(declared, given, output.as_json)
    if build.missing:
        problems = [f"missing {name}: expected {EXPORTS_BY_NAME[name].wasm_signature}" for name in build.missing]
        refuse(EXIT_MISMATCH, "the surface differs (ABI-1)", output.as_json, problems)
    fitting = {pattern: bool(select([case], [pattern])) for pattern in patterns}
    check_filters(patterns, fitting, {case.name: case.rules})
    oracle = Oracle(resolved.profile, make_numerics(request.kernels, output.as_json))
    words = ["--recorded", str(folder), *repeated]
    about = conditions(
        folder.name, build.sha256 or "unknown", resolved, oracle, "a page's, recorded", words, request.kernels
    )
    about = replace(about, notes=(*about.notes, *found.notes))
    suite = recorded_suite(case, found.answers, oracle)
    if request.explains:
        suite = replace(suite, explain=Explainer(oracle, suite.offered()))
    output = replace(output, extra=page_extra(oracle, resolved.sources))
    live = output.live(about)
    with progress("comparing", 1) as bar:
        live.over(bar)
        result = suite.run([case], before_explaining=live.before_explaining, after_case=live.after_case)
    output.show(result, live)
