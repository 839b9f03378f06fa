"""Builds compiled without features: every host comes to the same verdicts, with the same reasons (ID-1, GG-13)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import run
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.consumers.chromium import open_page, pick, saved_report, without_times
from tests.consumers.node import run_node
from tests.guest.build import build
from tests.guest.dialects import Dialect, names_of
from tests.support.builds import GUEST
from tests.support.command_line import command
from tests.support.toolchain import needed_toolchain

UNSUPPORTED = "UNSUPPORTED"
LACKS: Mapping[str, tuple[str, str, str]] = {
    "gguf": ("gguf", "InvalidModelMagic", "GGUF files (llama, F32 weights, SPM tokenizer)"),
    "q8_0": ("slm1/storage/q8_0", "UnsupportedDType", "q8_0 weights in SLM1 files"),
    "q4_0": ("slm1/storage/q4_0", "UnsupportedDType", "q4_0 weights in SLM1 files"),
    "bpe1": ("slm1/tokenizer/bpe1", "InvalidHeader", "the tokenizer BPE1 in SLM1 files"),
    "rope_scaling": ("gguf/rotary/linear", "InvalidHeader", "linear rotary scaling in GGUF files"),
    "rope_factors": ("gguf/rotary/factors", "InvalidHeader", "rotary factors in GGUF files"),
    "gguf_f16": ("gguf/storage/f16", "UnsupportedDType", "f16 weights in GGUF files"),
    "gguf_q8_0": ("gguf/storage/q8_0", "UnsupportedDType", "q8_0 weights in GGUF files"),
}
"""Switch of the guest -> the feature that it takes away, and the status and title by which hosts tell it."""

BUILDS = {
    "containers": ("gguf", "q8_0", "q4_0", "bpe1"),
    "parts": ("rope_scaling", "rope_factors", "gguf_f16", "gguf_q8_0"),
}


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The guest without the features of each name of BUILDS; skips without a compiler."""
    tools = needed_toolchain()
    folder = tmp_path_factory.mktemp("lacking")
    return {
        name: build(
            folder,
            dialect=Dialect.of([f"without={switch}" for switch in switches]),
            toolchain=tools,
            name=f"{name}.wasm",
        ).path
        for name, switches in BUILDS.items()
    }


def unsupported(report: Mapping[str, Any]) -> dict[str, str]:
    """Return id -> reason of the goldens that a report of `diff --golden`, Node or the page calls UNSUPPORTED."""
    return {entry["id"]: entry["reason"] for entry in report["cases"] if entry["verdict"] == UNSUPPORTED}


def verdicts(report: Mapping[str, Any]) -> dict[str, str]:
    """Return id -> verdict."""
    return {entry["id"]: entry["verdict"] for entry in report["cases"]}


def skipped_by_pytest(path: Path, goldens: Path, junit: Path) -> dict[str, str]:
    """Return id -> reason of the goldens that the plugin skips, in a pytest run of its own that fails in nothing."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--rootdir", goldens]
    words += [f"--refruntime-wasm={path}", f"--refruntime-golden={goldens}", f"--junitxml={junit}", "-c", "/dev/null"]
    done = run([*map(str, words), "golden"], cwd=goldens.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    reasons = {}
    for case in ElementTree.parse(junit).iter("testcase"):
        skipped = case.find("skipped")
        if skipped is not None:
            identifier = str(case.get("name")).removeprefix("golden.").replace(".", "/", 1)
            reasons[identifier] = str(skipped.get("message"))
    return reasons


def live_reasons(path: Path, ids: Sequence[str]) -> dict[str, str]:
    """Return id -> reason of the goldens that `diff`, with the oracle's answers, calls UNSUPPORTED."""
    done = command("diff", path, "--json", *(word for each in ids for word in ("--filter", f"golden/{each}")))
    assert done.code == 0, done.stdout[-3000:] + done.stderr
    found = {entry["name"]: entry for entry in done.json["cases"]}
    assert set(found) == {f"golden/{each}" for each in ids}
    return {
        name.removeprefix("golden/"): entry["reason"]
        for name, entry in found.items()
        if entry["verdict"] == UNSUPPORTED
    }


def test_every_switch_is_taken() -> None:
    """ID-1: what the guest can be built without is in one of the builds below."""
    assert set(LACKS) == set(names_of("without")) == {switch for names in BUILDS.values() for switch in names}


@pytest.mark.slow
@pytest.mark.xdist_group("builds that lack features")
@pytest.mark.parametrize("name", BUILDS)
def test_hosts_tell_the_same_of_what_is_absent(
    name: str, builds: Mapping[str, Path], goldens: Path, tmp_path: Path
) -> None:
    """ID-1, GG-13: which goldens are UNSUPPORTED follows from what they need; reasons are the same in all hosts."""
    path = builds[name]
    lacks = {feature: (status, title) for feature, status, title in (LACKS[switch] for switch in BUILDS[name])}
    usual, node = (run_node(each, "--golden", goldens, "--json").report for each in (GUEST, path))
    absent = {feature: status for feature, (status, _) in lacks.items()}
    assert absent.items() <= node["build"]["absent"].items()
    index = json.loads((goldens / "INDEX.json").read_text(encoding="utf-8"))
    needs = {each: set(entry["features"]) for each, entry in index["cases"].items()}
    expected = {each for each, needed in needs.items() if needed & lacks.keys()} | set(unsupported(usual))
    reasons = unsupported(node)
    assert set(reasons) == expected > set(unsupported(usual))
    for each in expected - set(unsupported(usual)):
        told = [
            f"the build does not have {title}: it refuses the plain file with {status} (ID-1)"
            for feature, (status, title) in lacks.items()
            if feature in needs[each]
        ]
        assert reasons[each] in told, each
    assert node["exit_code"] == 0
    frozen = command("diff", path, "--golden", goldens, "--json").json
    assert (verdicts(frozen), unsupported(frozen)) == (verdicts(node), reasons)
    assert frozen["build"]["absent"] == node["build"]["absent"]
    assert skipped_by_pytest(path, goldens, tmp_path / "junit.xml") == reasons
    assert live_reasons(path, sorted(needs)) == reasons


@pytest.mark.browser
@pytest.mark.parametrize("name", BUILDS)
def test_the_page_tells_the_same(name: str, builds: Mapping[str, Path], page: Any, site: str, goldens: Path) -> None:
    """ID-1: the saved report of the page is that of Node, down to the reasons."""
    open_page(page, site)
    pick(page, builds[name])
    report = saved_report(page)
    assert unsupported(report)
    assert without_times(report) == without_times(run_node(builds[name], "--golden", goldens, "--json").report)
