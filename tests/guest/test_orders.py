"""Orders that guests were built with are read off their memory, and comparing under them is exact (ID-4)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from refruntime.api import Model, open_model
from refruntime.battery.models.orders import PROMPT, orders_model
from refruntime.cli import main
from refruntime.client import Client
from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile
from refruntime.engines.wasm.pauses import PausableInstance, PausableModule
from refruntime.numerics.varied import Variation, Varied
from refruntime.sampling.config import SamplingConfig
from refruntime.sampling.generator import seeded
from refruntime.sampling.sampler import sample
from refruntime.witness.build import Witness
from refruntime.witness.kv_map import cached, find_cache
from refruntime.witness.orders import Fit, OrderEvidence, fit
from tests.guest.build import GUEST
from tests.guest.dialects import Dialect
from tests.guest.random_builds import Variant, build_all
from tests.support.toolchain import needed_toolchain

pytestmark = pytest.mark.slow

STORIES = GUEST.parent.parent / "golden" / "models" / "stories.f32.slm1"
TOKENS = 10_000
BEGINNINGS = (b"Once upon a time ", b"The little hen ", b"One day a fox ", b"In the wood ", b"A girl named Ann ")
BUILDS = {
    ("sum=lanes_4",): "4 lanes, tail in lanes, in order",
    ("sum=lanes_8", "tail=on_its_own", "reduction=neighbours"): "8 lanes, tail apart, neighbours",
    ("sum=lanes_16", "tail=after_the_lanes", "reduction=folded"): "16 lanes, tail after, halves",
    ("sum=f64",): "sequential, float64",
    ("sum=f64_of_rounded_products",): "sequential, float64 sum",
    ("sum=reversed",): "reversed",
}
EXACT = list(BUILDS)[:4]

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
    ("sine=polynomial",): {"sine": "quarter turns and Taylor"},
    ("sine=cosine_from_sine",): {"sine": "cosine by root"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What builds have in common is compiled once."""
    return tmp_path_factory.mktemp("builds")


def _build(folder: Path, texts: Sequence[str], bug: str | None = None, options: tuple[str, ...] = ()) -> Path:
    """Build a guest; its compiler is needed."""
    needed_toolchain()
    return next(build_all([Variant(options=options, dialect=Dialect.of(list(texts)), bug=bug)], folder))


def _fit(module: Path, dtype: DType = DType.F32, profile: Profile | None = None) -> Fit:
    profile = profile or Profile()
    return fit(OrderEvidence(module.read_bytes(), orders_model(profile, dtype), PROMPT, profile))


def _said(found: Fit, forms: dict[str, str]) -> None:
    """Hold a fit to the forms of a build: each is named, or among those that give the same bits on these widths."""
    assert found.uniform
    for name in Variation.meanings():
        form = forms.get(name, str(getattr(Variation(), name)))
        assert form in {str(getattr(found.variation, name)), *found.equal_forms(name)}, (name, found.variation.name)


@pytest.mark.parametrize("texts", BUILDS, ids="-".join)
def test_build_is_named_and_compared_exactly(texts: tuple[str, ...], folder: Path, tmp_path: Path) -> None:
    """The order is named, nothing else differs, and generations under it are equal bit for bit, logits included."""
    module = _build(folder, texts)
    found = _fit(module)
    assert found.uniform
    assert found.variation.changes() == {"matrices": BUILDS[texts]}
    target = tmp_path / "numerics.toml"
    target.write_text(found.variation.to_toml(), encoding="utf-8")
    few = ["--filter", "generate/slm1-f32*", "--no-explain"]
    assert main(["diff", str(module), "--numerics-variation", str(target), *few]) == 0
    assert main(["diff", str(module), *few]) == 1  # in the contract's order it is another build


@pytest.mark.parametrize("texts", EXACT, ids="-".join)
def test_ten_thousand_tokens_are_equal_under_the_order(texts: tuple[str, ...], folder: Path) -> None:
    """Tokens, and keys and values of every layer and position where they lie, bit by bit, drawn and greedy."""
    module, seconds = PausableModule(_build(folder, texts).read_bytes()), Varied(Variation.read(BUILDS[texts]), 1)
    artifact = STORIES.read_bytes()
    model, positions = open_model(artifact, numerics=seconds), 0
    for number in itertools.count(1):
        prompt = BEGINNINGS[number % 5] + b"%d" % number
        config = SamplingConfig.validated(0.9, 40, 0.95, number) if number % 6 else SamplingConfig()
        client = Client(PausableInstance(module))
        assert client.load_model(artifact) == 0
        assert client.set_sampling_config(config.temperature, config.top_k, config.top_p, config.seed) == 0
        assert client.generate(prompt, 256) == 0
        positions += _hold(model, client, prompt, config)
        if positions >= TOKENS:
            break
    assert positions >= TOKENS


def _hold(model: Model, client: Client, prompt: bytes, config: SamplingConfig) -> int:
    """Compare a generation with what the oracle makes of its tokens; return how many positions there are."""
    first = model.prompt_ids(prompt)
    ids = [*first, *client.result()]  # a token of this model is a byte
    cache = model.transformer.new_cache()
    logits = model.transformer.forward(ids, cache, first_logit=len(first) - 1)  # [tokens + 1, V]
    state = seeded(config.seed, Profile())
    for row, token in itertools.zip_longest(logits, ids[len(first) :]):
        if token is None and len(ids) == cache.capacity:
            break  # nothing is drawn that cannot be forwarded (GEN-6)
        choice = sample(np.asarray(row, np.float32), config, state, Profile())
        state = choice.generator_state
        assert choice.token == token or (token is None and choice.token in model.tokenizer.stop_ids)
    memory = client.engine.words()  # type: ignore[attr-defined]
    keys, values = cached(cache, len(ids))
    where = find_cache(memory, keys)
    for part in (where, find_cache(memory, values, where)):
        assert part is not None
        assert part.equal.all()
    return len(ids)


@pytest.mark.parametrize("forms", FORMS, ids="-".join)
def test_forms_are_named_beside_the_order(forms: tuple[str, ...], folder: Path) -> None:
    """Vector instructions, exp, sine, power, root, reciprocals: all of a build's forms are read off at once."""
    _said(_fit(_build(folder, forms)), FORMS[forms])


@pytest.mark.parametrize(("dtype", "option"), [(DType.Q8_0, ""), (DType.Q4_0, ""), (DType.Q4_0, "fw4_block_sum")])
def test_quantised_weights_tell_the_order_too(dtype: DType, option: str, folder: Path) -> None:
    """FW-4: sums of weights that are scaled first, and of blocks that are scaled last."""
    module = _build(folder, ["sum=lanes_8"], options=(option,) if option else ())
    profile = Profile(quantized_product="sum times scale") if option else Profile()
    _said(_fit(module, dtype, profile), {"matrices": "8 lanes, tail in lanes, in order"})


@pytest.mark.parametrize(
    ("bug", "tensor"), [("scale_one_percent", "blk.0.attn.scores"), ("residual_shrinks_in_layer_1", "")]
)
def test_a_bug_in_such_a_build_is_found(bug: str, tensor: str, folder: Path) -> None:
    """The order is read off all the same; the first tensor that it does not explain is that of the bug.

    The model that tells orders has one layer; the witness finds what is wrong in another, under the order.
    """
    order = "16 lanes, tail in lanes, in order"
    module = _build(folder, ["sum=lanes_16"], bug)
    found = _fit(module)
    assert found.variation.changes() == {"matrices": order}
    if tensor:
        assert found.failed is not None
        assert found.failed.tensors[0] == tensor
        few = ["--filter", "generate/slm1-f32*", "--no-explain", "--numerics-variation", found.variation.name]
        assert main(["diff", str(module), *few]) == 1
    numerics = Varied(found.variation, 1)
    seen = Witness(module.read_bytes(), STORIES.read_bytes(), b"Once upon a time", 2, numerics=numerics).earliest()
    assert seen.look.first is not None
    assert seen.look.first.name == (tensor or "blk.1.attn_residual")


def test_every_reach_is_read(folder: Path) -> None:
    """Squares of norms and attention scores may be summed like matrices."""
    order = "8 lanes, tail in lanes, in order"
    found = _fit(_build(folder, ["sum=lanes_8", "reach=scores", "reach=squares"]))
    _said(found, dict.fromkeys(("matrices", "squares", "scores"), order))
