"""Section 1 of the contract: the exports and nothing else."""

from __future__ import annotations

import inspect

import pytest

from refruntime import ExportedABI, Profile, Trap
from refruntime.contract import CONTRACT_VERSION, EXPORTS
from tests.contract.host import Host
from tests.contract.models import story_model

SURFACE = {
    "alloc": ["length"],
    "dealloc": ["pointer", "length"],
    "init_runtime": [],
    "load_model": ["pointer", "length"],
    "set_sampling_config": ["temperature", "top_k", "top_p", "seed"],
    "generate": ["pointer", "length", "max_new_tokens"],
    "generate_next_token": [],
    "last_result_ptr": [],
    "last_result_len": [],
    "get_diagnostics_ptr": [],
    "get_diagnostics_len": [],
    "reset_context": [],
    "free_model": [],
}


def test_class_has_the_thirteen_exports() -> None:
    """ABI-1, ABI-2: names, parameters and order of the methods are those of the published listing."""
    assert list(SURFACE) == [export.name for export in EXPORTS]
    for name, parameters in SURFACE.items():
        method = getattr(ExportedABI, name)
        assert list(inspect.signature(method).parameters)[1:] == parameters
    others = {name for name, _ in inspect.getmembers(ExportedABI, inspect.isfunction) if not name.startswith("_")}
    assert others - set(SURFACE) == {"read", "write"}  # the host's own hands, not exports


def test_no_version_export() -> None:
    """ABI-5: no export tells a version; the contract version belongs to the profile, whose fingerprint covers it."""
    assert not [export.name for export in EXPORTS if "version" in export.name]
    assert f'contract = "{CONTRACT_VERSION}"' in Profile().to_toml()


def test_memory_is_exported() -> None:
    """ABI-1, MEM-5: the memory is a writable view of whole pages of 64 KiB."""
    memory = ExportedABI().memory
    assert not memory.readonly
    assert memory.nbytes % 65536 == 0
    assert memory.nbytes > 0


def test_two_modules_share_nothing() -> None:
    """ABI-4: the lock and the model belong to one module instance; another instance has its own."""
    first, second = Host(model=story_model()), Host()
    with pytest.raises(Trap):
        first.abi.load_model(len(first.abi.memory) - 1, 2)
    assert first.abi.reset_context() == 13
    assert second.abi.reset_context() == 0
    assert second.diagnostics["model_loaded"] is False


def test_results_are_unsigned_integers() -> None:
    """ABI-2: every export returns a plain int with unsigned meaning, dealloc nothing."""
    host = Host(model=story_model())
    pointer = host.abi.alloc(4)
    assert host.abi.dealloc(pointer, 4) is None  # type: ignore[func-returns-value]
    numbers = [
        pointer,
        host.abi.init_runtime(),
        host.abi.load_model(0, 0),
        host.abi.set_sampling_config(0, 1, 1, 1),
        host.abi.generate(0, 0, 0),
        host.abi.generate_next_token(),
        host.abi.last_result_ptr(),
        host.abi.last_result_len(),
        host.abi.get_diagnostics_ptr(),
        host.abi.get_diagnostics_len(),
        host.abi.reset_context(),
        host.abi.free_model(),
    ]
    assert all(type(number) is int and 0 <= number < 2**32 for number in numbers)
