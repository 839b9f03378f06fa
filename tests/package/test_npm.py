"""The npm package of consumer and recorder: packed, installed offline from its tarball in an empty folder, and used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.consumers.node import missing_node
from tests.meta.test_house import PROJECT
from tests.support.builds import GUEST, MUTANTS

pytestmark = pytest.mark.package


def _run(folder: Path, *command: object, code: int = 0) -> str:
    # No registry can be reached at this address, whatever the machine has configured.
    nowhere = {"npm_config_registry": "http://127.0.0.1:9/", "npm_config_offline": "true", "npm_config_audit": "false"}
    environment = {**os.environ, **nowhere, "npm_config_cache": str(folder / ".npm")}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the package is installed, with a right and a wrong build beside it."""
    if missing_node() or shutil.which("npm") is None:
        pytest.skip(missing_node() or "npm is not installed")
    folder = tmp_path_factory.mktemp("npm")
    (packed,) = json.loads(_run(folder, "npm", "pack", "--json", "--pack-destination", folder, PROJECT))
    names = {file["path"] for file in packed["files"]}
    golden = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "golden").rglob("*") if path.is_file()}
    top = {"package.json", "README.md", "LICENSE", "CHANGELOG.md", "types/consume.d.ts", "types/record.d.ts"}
    assert names == golden | top
    (folder / "package.json").write_text('{"name": "theirs", "private": true, "type": "module"}\n')
    _run(folder, "npm", "install", "--no-fund", folder / packed["filename"])
    shutil.copy(GUEST, folder / "build.wasm")
    shutil.copy(MUTANTS["top_k_off_by_one"], folder / "wrong.wasm")
    return folder


def test_the_command(folder: Path) -> None:
    """ABI-5: `npx refruntime-goldens build.wasm` has its goldens with it, and tells a right build from a wrong one."""
    right = _run(folder, "npx", "refruntime-goldens", "build.wasm", "--filter", "sampling").splitlines()
    assert right[-1].startswith("fine: ")
    wrong = _run(folder, "npx", "refruntime-goldens", "wrong.wasm", "--filter", "SA-2", "--json", code=1)
    report = json.loads(wrong)
    index = json.loads((PROJECT / "golden" / "INDEX.json").read_text("utf-8"))
    assert report["golden"]["root"] == index["root"]
    assert report["summary"]["verdicts"]["MISMATCH"] > 0


def test_the_modules(folder: Path) -> None:
    """ABI-5, DG-2: consumer and recorder are imported by the name of the package."""
    (folder / "use.mjs").write_text("""
        import { readFile } from "node:fs/promises";
        import { FINE, consume, lastLine } from "refruntime-goldens";
        import { record } from "refruntime-goldens/record";
        const bytes = await readFile("build.wasm");
        const { instance, module } = await WebAssembly.instantiate(bytes, {});
        const recorded = record(instance, { module, wasm: bytes, name: "theirs" });
        console.log(recorded.exports.init_runtime());
        const { name, version } = recorded.recording();
        console.log(JSON.stringify({ name, version, fine: FINE, functions: [consume, lastLine].every(Boolean) }));
    """)
    code, told = _run(folder, "node", "use.mjs").splitlines()
    fine = ["MATCH", "BOTH_FAILED", "UNSUPPORTED"]
    assert code == "0"
    assert json.loads(told) == {"name": "theirs", "version": 1, "fine": fine, "functions": True}


def test_the_types(folder: Path) -> None:
    """ABI-5: TypeScript finds the types by the name of the package, and they refuse what is wrong."""
    compiler = PROJECT / "node_modules" / "typescript" / "bin" / "tsc"
    if not compiler.is_file():
        pytest.skip("typescript is not installed: make lint installs it where npm is")
    (folder / "right.ts").write_text("""
        import { consume, type StartWorker, type Verdict } from "refruntime-goldens";
        import { record, type Recording } from "refruntime-goldens/record";
        export const run = (startWorker: StartWorker, bytes: Uint8Array): Promise<Verdict[]> =>
          consume({ read: async () => bytes, startWorker, bytes, name: "x" })
            .then((report) => report.cases.map(({ verdict }) => verdict));
        export const keep = (instance: WebAssembly.Instance): Recording => record(instance).recording();
    """)
    (folder / "wrong.ts").write_text("""
        import { consume } from "refruntime-goldens";
        consume({ bytes: "build.wasm" });
    """)
    options = ("--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom")
    _run(folder, "node", compiler, *options, "right.ts")
    assert "wrong.ts(3" in _run(folder, "node", compiler, *options, "wrong.ts", code=2)
