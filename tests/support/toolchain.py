"""The compiler of the guest, for tests that build."""

from __future__ import annotations

import pytest

from tests.guest.toolchain import BuildError, Toolchain, find_toolchain


def needed_toolchain() -> Toolchain:
    """Return the Rust compiler for wasm32; skips where there is none."""
    try:
        return find_toolchain()
    except BuildError as error:
        pytest.skip(f"no compiler for the guest: {error}")
