"""The recorder in headless Chromium: a page that it does not know, saved with its own button, judged by the oracle.

Opt-in: `make test-browser`.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.support.builds import GUEST, MUTANTS
from tests.support.command_line import command
from tests.support.recorded_sessions import PROJECT, RECORDER

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><title>A page</title><button disabled>save</button><script type="module">
import { recordEvery } from "./record.mjs";
const recorder = recordEvery({ name: "in a browser" });
const { instance } = await WebAssembly.instantiateStreaming(fetch("build.wasm"), {});
const wasm = instance.exports;
const transfer = (bytes, call) => {
  const pointer = wasm.alloc(bytes.length);
  new Uint8Array(wasm.memory.buffer).set(bytes, pointer);
  try { return call(pointer, bytes.length); } finally { wasm.dealloc(pointer, bytes.length); }
};
transfer(new Uint8Array(await (await fetch("model.slm1")).arrayBuffer()), wasm.load_model);
wasm.set_sampling_config(0.8, 40, 0.9, 7n);
transfer(new TextEncoder().encode("Once"), (pointer, length) => wasm.generate(pointer, length, 20));
wasm.reset_context();
const button = document.querySelector("button");
button.onclick = () => recorder.instances[0].download("session.json");
button.disabled = false;
</script>
"""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serve files without a log."""

    extensions_map: ClassVar[dict[str, str]] = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
    }

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A page, the recorder and a model on a server of their own; a test adds `build.wasm`."""
    (tmp_path / "index.html").write_text(PAGE)
    shutil.copy(RECORDER, tmp_path / "record.mjs")
    shutil.copy(PROJECT / "golden" / "models" / "stories.q8_0.slm1", tmp_path / "model.slm1")
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


@pytest.mark.parametrize(
    ("build", "code", "shown"), [(GUEST, 0, "1 MATCH"), (MUTANTS["reset_keeps_kv"], 1, "kv_length")]
)
def test_a_page_in_a_browser(chromium: Any, address: str, tmp_path: Path, build: Path, code: int, shown: str) -> None:
    """ABI-1, ST-5: what a real page saves becomes a case; a right build matches, a wrong one is named."""
    shutil.copy(build, tmp_path / "build.wasm")
    page = chromium.new_page()
    page.goto(address)
    with page.expect_download(timeout=90_000) as saved:
        page.locator("button").click(timeout=90_000)
    assert saved.value.suggested_filename == "session.json"
    saved.value.save_as(tmp_path / "session.json")
    page.close()
    assert command("record", tmp_path / "session.json", "-o", tmp_path / "session").code == 0
    outcome = command("diff", "--recorded", tmp_path / "session", "--no-explain")
    assert outcome.code == code, outcome.stdout
    assert shown in outcome.stdout
