"""What a file is that came in the place of a model, told from its first bytes."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import pytest

from refruntime.contract.profile import Profile
from refruntime.errors import InvalidModelMagic
from refruntime.foreign import foreign
from refruntime.model.load import container_of


def safetensors() -> bytes:
    """Return a file of one tensor, written as its format says: a length, JSON, the data."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


def archive() -> bytes:
    """Return a zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("data.pkl", b"")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "b'', an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS: `git lfs pull`"),
        (b"<!DOCTYPE html><html>", "a page of HTML"),
        (b"\n<html>", "a page of HTML"),
        (b"\0asm\x01\0\0\0", "a WebAssembly module"),
        (b"(module)", "WebAssembly text"),
        (safetensors(), "safetensors"),
        (archive(), "a zip archive"),
        (b"\x1f\x8b\x08\0", "compressed"),
    ],
)
def test_what_came_instead_is_named(data: bytes, told: str) -> None:
    """GG-1: the refusal of a file that is no model says what it is, where its first bytes tell."""
    with pytest.raises(InvalidModelMagic) as caught:
        container_of(memoryview(data), Profile())
    assert told in str(caught.value.found)


@pytest.mark.parametrize("data", [b"SLM", b"GGU", b"hello", b"{}", b"12345678{", b"versions differ"])
def test_nothing_is_guessed(data: bytes) -> None:
    """GG-1: of bytes that belong to no known format the refusal shows the magic alone."""
    assert foreign(data) == ""
    with pytest.raises(InvalidModelMagic) as caught:
        container_of(memoryview(data), Profile())
    assert caught.value.found == repr(data[:4])


def test_a_container_that_the_profile_lacks_is_named() -> None:
    """GG-1: a GGUF file is called one where the profile accepts SLM1 alone."""
    with pytest.raises(InvalidModelMagic) as caught:
        container_of(memoryview(b"GGUF\x03\0\0\0"), Profile(containers=("slm1",)))
    assert (caught.value.expected, caught.value.found) == ("SLM1", "b'GGUF', a GGUF model")
