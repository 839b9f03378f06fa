"""A small corpus of goldens for tests, written by hand into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refruntime.battery.models.slm1 import story_model, table_model
from refruntime.contract.profile import Profile
from refruntime.golden.values import disk_json

STORY = [{"load": "story"}, {"generate": {"max_new_tokens": 2, "prompt": {"text": "a"}}}]
DRAW = {"configure": {"seed": 3, "temperature": "1", "top_k": 5, "top_p": "0.9"}}


def case(
    steps: list[Any], *, models: tuple[str, ...] = ("story",), rules: tuple[str, ...] = ("GEN-5",), **more: Any
) -> Any:
    """Return the document of a `case.json`."""
    return {
        "about": "A wrong runtime does something else.",
        "format": 1,
        "models": {name: {"file": f"models/table-{name}.slm1"} for name in models},
        "rules": list(rules),
        "steps": steps,
        **more,
    }


CASES: dict[str, Any] = {
    "errors/no-model": case([{"generate": {"max_new_tokens": 1, "prompt": "61"}}], models=(), rules=("ST-6",)),
    "generate/story": case(STORY),
    "generate/story-drawn": case([STORY[0], DRAW, {"generate": {"max_new_tokens": 3, "prompt": {"text": "slope"}}}],
                                 models=("slope",)) | {"steps": [
        {"load": "slope"}, DRAW, {"generate": {"max_new_tokens": 4, "prompt": {"text": "a"}}},
        {"call": ["generate_next_token"]},
    ]},
    "memory/transfer": case([
        {"call": ["alloc", 4], "bind": "p"}, {"write": "p+1", "bytes": "616263"}, {"call": ["last_result_len"]},
        {"call": ["get_diagnostics_ptr"]}, {"call": ["dealloc", "p", 4]}, {"call": ["init_runtime"]},
    ], models=(), rules=("MEM-1", "MEM-7")),
}  # fmt: skip


def slope_model() -> bytes:
    """Return a model whose logits fall by an odd step from letter to letter, whatever came before."""
    slope = {ord("a") + place: -0.37 * place for place in range(20)}
    return table_model({}, otherwise=slope, background=-30.0, profile=Profile())


def write_corpus(root: Path, cases: dict[str, Any] | None = None) -> Path:
    """Write models and `case.json` files below a new folder, and a list of rules that nothing pins."""
    (root / "models").mkdir(parents=True)
    (root / "models" / "table-story.slm1").write_bytes(story_model(Profile()))
    (root / "models" / "table-slope.slm1").write_bytes(slope_model())
    for identifier, document in (CASES if cases is None else cases).items():
        write_case(root, identifier, document)
    return root


def write_case(root: Path, identifier: str, document: Any) -> None:
    """Write one `case.json` in the on-disk form."""
    folder = root / "cases" / identifier
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.json").write_bytes(disk_json(document))
