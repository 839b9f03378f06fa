"""With nothing but the wheel, in an empty folder: every command that needs goldens or models finds them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.consumers.node import missing_node
from tests.meta.consoles import commands
from tests.meta.test_house import PROJECT
from tests.package.wheels import Installed, built, installed
from tests.support.builds import GUEST, MUTANTS

pytestmark = pytest.mark.package


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Return the wheel of this checkout where it can be used; the builds to test lie in the otherwise empty folder."""
    folder = tmp_path_factory.mktemp("installed")
    found = installed(built(PROJECT, "wheel", folder / "dist"), folder)
    shutil.copy(GUEST, found.folder / "build.wasm")
    shutil.copy(MUTANTS["reset_keeps_kv"], found.folder / "wrong.wasm")
    return found


def run(package: Installed, *arguments: object, code: int = 0, stdin: str = "") -> str:
    """Run `python -m refruntime ARGUMENTS` and return what it printed."""
    shown = package.run("-m", "refruntime", *arguments, stdin=stdin)
    assert shown.returncode == code, shown.stdout + shown.stderr
    return shown.stdout


def test_the_wheel_is_what_runs(package: Installed) -> None:
    """What the tests below run is the wheel and its own data, not the checkout."""
    source = "import refruntime.resources as r; print(r.__file__); print(r.golden_folder()); print(r.second_opinion())"
    module, goldens, opinion = package.run("-c", source).stdout.splitlines()
    assert Path(goldens) == Path(module).parent / "data" / "golden"
    assert not Path(module).is_relative_to(PROJECT / "refruntime")
    assert opinion == "None"


COMMANDS = {
    ("demo",): "All as expected",
    ("--help",): "Start here",
    ("run", "stories.q8_0.slm1", "The little", "-n", "12"): "^ fox Mia liv",
    ("verify",): "0 findings in ",
    ("golden", "list"): r"sampling/ties-at-the-cut +",
    ("golden", "pack", "-o", "goldens.tar"): r"\d+ cases, \d+ files, \d+ bytes",
    ("diff", "build.wasm", "--filter", "generator"): r"total .* MATCH",
    ("diff", "build.wasm", "--filter", "generate/stories.f32.slm1-*"): r"total .* MATCH",
    ("diff", "--golden", "build.wasm", "--filter", "sampling"): r"total .* MATCH",
    ("inspect", "stories.q4_0.slm1"): "slm1, 157,824 bytes",
}


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_command(package: Installed, arguments: tuple[str, ...]) -> None:
    """The command works as in a checkout."""
    assert re.search(COMMANDS[arguments], run(package, *arguments))


CHECKOUT_ONLY = ("tests/guest", "docs/", "refruntime fill", "node ", "pytest ", "make ")
"""Parts of commands of README for which a checkout is needed, or more than the wheel."""

OF_README = [each for each, _ in commands((PROJECT / "README.md").read_text("utf-8"))]


@pytest.mark.parametrize("line", [each for each in OF_README if not any(part in each for part in CHECKOUT_ONLY)])
def test_command_of_readme(package: Installed, line: str, tmp_path: Path) -> None:
    """ABI-5: whoever has the wheel alone and goes through README finds its models and goldens by the same names."""
    _, *words = shlex.split(line.replace("/tmp/", f"{tmp_path}/"))
    assert run(package, *words).strip()


def test_an_archive_is_used_as_its_last_line_says(package: Installed) -> None:
    """FORMAT section 8: unpacked as told, the goldens judge a build in Node."""
    if missing_node():
        pytest.skip(missing_node())
    told = run(package, "golden", "pack", "-o", "archive.tar").splitlines()[-1]
    assert told.startswith("next: tar xf archive.tar; node ")
    script = told.removeprefix("next: ").replace("BUILD.wasm", "build.wasm --filter abi")
    done = subprocess.run(["sh", "-ec", script], cwd=package.folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("fine: ")


def test_repl(package: Installed) -> None:
    """The REPL starts with the project's own models, and behind a golden."""
    assert "fox" in run(package, "repl", stdin="prompt 'The little'\nstep 8\ntext\n")
    assert "Once" in run(package, "repl", "stories.q8_0.slm1", stdin='prompt "Once"\nstep 3\nwhy\n')
    assert run(package, "repl", "--case", "sampling/ties-at-the-cut", "--until", 2, stdin="why\n")
    assert run(package, "repl", "--case", "state/cut-state", code=2, stdin="") == ""


def test_a_wrong_build_is_told(package: Installed) -> None:
    """The battery and the goldens find a seeded bug there as well."""
    for golden in ([], ["--golden"]):
        report = run(package, "diff", *golden, "wrong.wasm", "--filter", "ST-5", "--json", code=1)
        assert "MISMATCH" in report


def test_fill_leaves_the_package_alone(package: Installed) -> None:
    """Goldens of an installed package are not to be changed; the refusal says what to do."""
    shown = package.run("-m", "refruntime", "fill")
    assert shown.returncode == 2
    assert "--golden DIR" in shown.stderr


def test_serve(package: Installed) -> None:
    """The page and the goldens are served from the package."""
    command = package.command("-m", "refruntime", "golden", "serve", "--port", "0")
    with subprocess.Popen(
        command, cwd=package.folder, env=package.environment(), stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            with urllib.request.urlopen(address, timeout=30) as page:
                assert b"<html" in page.read().lower()
            with urllib.request.urlopen(urllib.parse.urljoin(address, "/INDEX.json"), timeout=30) as index:
                assert json.load(index)["cases"]
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:  # leaving the block would wait for ever
                server.kill()
                raise


def test_pytest_plugin(package: Installed) -> None:
    """The plugin finds the goldens without being told where they are."""
    shown = package.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--refruntime-wasm=build.wasm", "golden/abi")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert re.search(r"\d+ passed", shown.stdout)


def test_the_list_of_cases_is_the_checkout_s(package: Installed) -> None:
    """`diff` runs the same cases wherever it is installed."""
    mine = run(package, "diff", "build.wasm", "--list", "--json")
    checkout = package.__class__(package.python, PROJECT, None)
    theirs = checkout.run("-m", "refruntime", "diff", GUEST, "--list", "--json").stdout
    assert json.loads(mine) == json.loads(theirs)
    assert any(case["name"].startswith("generate/stories.") for case in json.loads(mine)["cases"])
