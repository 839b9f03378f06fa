"""The sum of every strange guest is read off its own comparison, and its formula is worked out from sums (ID-2)."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.guest.dialects import Dialect, checksum, names_of
from tests.guest.random_builds import Variant, build_all

pytest.importorskip("wasmtime")

from refruntime.client import Client
from refruntime.containers.checksum import slm1_checksum
from refruntime.contract.profile import Profile
from refruntime.engines.wasm import WasmEngine
from refruntime.identify.comparison import CannotSeal
from refruntime.identify.formula import formula_of
from refruntime.identify.seal import Sealer, probes
from tests.support.toolchain import needed_toolchain

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of built modules; skips without a compiler."""
    needed_toolchain()
    return tmp_path_factory.mktemp("asked")


def built(texts: list[str], folder: Path) -> tuple[Dialect, bytes]:
    dialect = Dialect.of(texts)
    [path] = build_all([Variant(dialect=dialect)], folder)
    return dialect, path.read_bytes()


@pytest.mark.parametrize("formula", names_of("formula"))
def test_formulas(formula: str, folder: Path) -> None:
    """SL-5, ID-2: each foreign formula, with a start and a rotation of its own, gives 1,000 random sums and more."""
    chance = Random(formula)
    texts = [f"{group}={chance.choice(list(names_of(group)))}" for group in ("start", "rotation")]
    dialect, module = built([f"formula={formula}", *texts], folder)
    fitted = formula_of(Sealer(module))
    assert fitted.files == 1000
    profile = fitted.profile(Profile())
    for file in probes():
        assert slm1_checksum(file, profile) == checksum(file, dialect)
        sealed = Sealer(module, formula=profile).seal(file)
        assert Client(WasmEngine(module)).load_model(sealed.data) == 0


@pytest.mark.parametrize("comparison", names_of("comparison"))
def test_comparisons(comparison: str, folder: Path) -> None:
    """ID-2: however the sums are compared, files are sealed; a truncated comparison is told."""
    dialect, module = built([f"comparison={comparison}", "start=golden_ratio"], folder)
    sealer = Sealer(module)
    assert sealer.comparison.kind == ("truncated" if comparison == "truncated" else "whole")
    for file in probes():
        sealed = sealer.seal(file)
        assert sealed.checksum is not None
        assert (sealed.checksum ^ checksum(file, dialect)) & sealer.comparison.mask == 0
        assert Client(WasmEngine(module)).load_model(sealed.data) == 0


def test_a_sum_that_varies_is_told(folder: Path) -> None:
    """ID-2: a build whose sum changes from load to load is not taken for one with a formula."""
    _, module = built(["behaviour=checksum_varies"], folder)
    with pytest.raises(CannotSeal, match="answers differently each time") as caught:
        Sealer(module)
    assert caught.value.kind == "unsteady"
