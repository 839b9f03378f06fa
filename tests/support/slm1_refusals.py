"""Load hand-made SLM1 files and look closely at the errors of those that must be refused."""

from __future__ import annotations

import pytest

from refruntime.containers.slm1 import Slm1File, read_slm1
from refruntime.contract import Profile
from refruntime.errors import ContractError
from refruntime.model.slm1.model import validate_slm1
from refruntime.model.validated import ValidatedModel

PROFILE = Profile()


def read(file: bytes | bytearray, profile: Profile = PROFILE) -> Slm1File:
    """Read a file up to its directory."""
    return read_slm1(bytes(file), profile)


def load(file: bytes | bytearray, profile: Profile = PROFILE) -> ValidatedModel:
    """Read a file and validate its model."""
    return validate_slm1(read(file, profile), profile)


def read_refusal(file: bytes | bytearray, kind: type[ContractError]) -> ContractError:
    """Read a file that must be refused up to its directory; return the checked error."""
    with pytest.raises(kind) as caught:
        read(file)
    return checked(caught.value, kind)


def load_refusal(file: bytes | bytearray, kind: type[ContractError]) -> ContractError:
    """Load a file that must be refused; return the checked error."""
    with pytest.raises(kind) as caught:
        load(file)
    return checked(caught.value, kind)


def checked(error: ContractError, kind: type[ContractError]) -> ContractError:
    """Check that an error is a leaf of the tree and says which rule, where, what was expected and what was found."""
    assert type(error) is kind
    assert kind.__bases__ == (ContractError,)
    assert error.rule is not None
    assert error.offset is not None
    assert error.field is not None
    assert error.expected is not None
    assert error.found is not None
    return error
