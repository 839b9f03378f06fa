"""Orders that guests were built with are read off their memory, and comparing under them is exact (ID-4)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from refruntime.battery.models.orders import PROMPT, orders_model
from refruntime.cli import main
from refruntime.contract.profile import Profile
from refruntime.witness.orders import Fit, OrderEvidence, fit

pytestmark = pytest.mark.slow

BUILD = Path(__file__).with_name("build.py")
LANES_8 = ("--dialect", "sum=lanes_8")
BUILDS = {
    ("--dialect", "sum=lanes_4"): "4 lanes, tail in lanes, in order",
    (*LANES_8, "--dialect", "tail=on_its_own", "--dialect", "reduction=neighbours"): "8 lanes, tail apart, neighbours",
    ("--dialect", "sum=lanes_16", "--dialect", "tail=after_the_lanes", "--dialect", "reduction=folded"): (
        "16 lanes, tail after, halves"
    ),
    ("--dialect", "sum=f64"): "sequential, float64",
    ("--dialect", "sum=f64_of_rounded_products"): "sequential, float64 sum",
    ("--dialect", "sum=reversed"): "reversed",
}

FORMS = {
    ("sum=blocks_of_8", "exp=base_2", "root=of_the_reciprocal"): {
        "matrices": "blocks of 8",
        "inverse": "root of reciprocal",
        "exp": "power of two",
    },
    ("sum=lanes_16", "vector=simd128", "exp=polynomial", "power=exp_of_log"): {
        "matrices": "16 lanes, tail in lanes, in order",
        "exp": "Cephes, times the rest twice",
        "power": "exp of log",
    },
    ("sum=blocks_of_32", "reciprocal=softmax", "reciprocal=silu", "reciprocal=mean"): {
        "matrices": "blocks of 32",
        "mean": "multiply by the reciprocal",
        "softmax": "multiply by the reciprocal",
        "silu": "multiply by the reciprocal",
    },
    ("sum=pairwise_of_16", "root=through_f64"): {"matrices": "pairwise of 16", "inverse": "float64 rounded once"},
}


def _build(options: tuple[str, ...], folder: Path) -> Path:
    """Build a guest; its compiler is needed."""
    words = [sys.executable, str(BUILD), *options, "--out", str(folder), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the guest cannot be built: {done.stderr[-300:]}")
    return Path(json.loads(done.stdout)[0]["path"])


def _fit(module: Path) -> Fit:
    return fit(OrderEvidence(module.read_bytes(), orders_model(Profile()), PROMPT))


@pytest.mark.parametrize("options", BUILDS, ids=lambda options: "-".join(options[1::2]))
def test_build_is_named_and_compared_exactly(options: tuple[str, ...], tmp_path: Path) -> None:
    """The order is named, nothing else differs, and generations under it are equal bit for bit, logits included."""
    module = _build(options, tmp_path)
    found = _fit(module)
    assert found.uniform
    assert found.variation.changes() == {"matrices": BUILDS[options]}
    target = tmp_path / "numerics.toml"
    target.write_text(found.variation.to_toml(), encoding="utf-8")
    few = ["--filter", "generate/*", "--no-explain"]
    assert main(["diff", str(module), "--numerics-variation", str(target), *few]) == 0
    assert main(["diff", str(module), *few]) == 1  # in the contract's order it is another build


@pytest.mark.parametrize("forms", FORMS, ids="-".join)
def test_forms_are_named_beside_the_order(forms: tuple[str, ...], tmp_path: Path) -> None:
    """Vector instructions, exp, power, root, reciprocals: all of a build's forms are read off at once."""
    found = _fit(_build(tuple(word for form in forms for word in ("--dialect", form)), tmp_path))
    assert found.uniform
    assert found.variation.changes() == FORMS[forms]


@pytest.mark.parametrize(("bug", "tensor"), [("scale_one_percent", "blk.0.attn.scores")])
def test_a_bug_in_such_a_build_is_found(bug: str, tensor: str, tmp_path: Path) -> None:
    """The order is read off all the same; the first tensor that it does not explain is that of the bug."""
    module = _build((*LANES_8, "--bug", bug), tmp_path)
    found = _fit(module)
    assert found.variation.changes() == {"matrices": "8 lanes, tail in lanes, in order"}
    assert found.failed is not None
    assert found.failed.tensors[0] == tensor
    few = ["--filter", "generate/*", "--no-explain", "--numerics-variation", found.variation.name]
    assert main(["diff", str(module), *few]) == 1


def test_every_reach_is_read(tmp_path: Path) -> None:
    """Squares of norms and attention scores may be summed like matrices."""
    found = _fit(_build((*LANES_8, "--dialect", "reach=scores", "--dialect", "reach=squares"), tmp_path))
    order = "8 lanes, tail in lanes, in order"
    assert found.uniform
    assert found.variation.changes() == dict.fromkeys(("matrices", "squares", "scores"), order)
