"""Read what `golden/record.mjs` wrote down in somebody's page (docs/testing-a-build.md), bounded and strict."""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass, field, replace
from typing import Any, Final

from refruntime.contract.exports import EXPORTS_BY_NAME, Export, WasmType
from refruntime.engines.interface import visible
from refruntime.golden.reading import GoldenError, JsonNode
from refruntime.golden.values import bytes_hash, parse_integer

RECORDING_FORMAT: Final = "refruntime recording"
RECORDING_VERSION: Final = 1
MAX_RECORDING_BYTES: Final = 256 * 2**20
MAX_EVENTS: Final = 1_000_000
MAX_FLOAT_CHARACTERS: Final = 400

SLICE_EXPORTS: Final = ("load_model", "generate")

_SHA256: Final = "[0-9a-f]{64}"
_NAMED_FLOATS: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True)
class Blob:
    """Bytes that a call read, by hash; `data` is None where the recording holds hash and length alone."""

    sha256: str
    length: int
    data: bytes | None


@dataclass(frozen=True)
class Event:
    """One call: its arguments as the module saw them, and what came back.

    `returned` is None for an export without a result, and where `trap` tells why the call did not return. `refused` is
    the host's own exception for arguments that never reached the module. `slice` is what the call was about to read:
    bytes, a blob, `outside` for a range beyond memory, None where nothing is read (MEM-2). `result` and `diagnostics`
    follow a status, where the module has their getters; `unreadable` says why they could not be read.
    """

    index: int
    export: Export
    arguments: tuple[int | float, ...] = ()
    returned: int | None = None
    trap: str = ""
    refused: str = ""
    slice: bytes | Blob | str | None = None
    result: bytes | None = None
    diagnostics: bytes | None = None
    unreadable: str = ""


@dataclass(frozen=True)
class RecordedBuild:
    """What the page knew of its module: hash, declared contract choices, names of its function exports."""

    sha256: str | None
    declaration: str | None
    exports: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the exports of ABI-1 that the module does not have."""
        return tuple(name for name in EXPORTS_BY_NAME if name not in self.exports)


@dataclass(frozen=True)
class Recording:
    """A session as it was: `unrecorded` counts calls of exports that the contract does not know."""

    name: str
    build: RecordedBuild
    events: tuple[Event, ...]
    unrecorded: dict[str, int] = field(default_factory=dict)
    truncated: str | None = None


def read_recording(data: bytes, file: str) -> Recording:
    """Read a recording: GoldenError says where it is malformed, what was expected and what was found."""
    if len(data) > MAX_RECORDING_BYTES:
        raise GoldenError(file, "", f"at most {MAX_RECORDING_BYTES} bytes", str(len(data)))
    root = JsonNode(_parse(data, file), file)
    if not isinstance(root.value, dict) or root.value.get("format") != RECORDING_FORMAT:
        raise GoldenError(file, "", f'a recording ("format": "{RECORDING_FORMAT}")', "something else")
    top = root.object(("format", "version", "name", "build", "events", "blobs", "unrecorded", "truncated"))
    if top["version"].value != RECORDING_VERSION:
        top["version"].fail(f"version {RECORDING_VERSION}")
    blobs = {key: _blob(key, node) for key, node in top["blobs"].members().items()}
    events = top["events"].items()
    if len(events) > MAX_EVENTS:
        top["events"].fail(f"at most {MAX_EVENTS} events", str(len(events)))
    truncated = top["truncated"]
    return Recording(
        name=visible(top["name"].string()),
        build=read_build(top["build"]),
        events=tuple(_event(index, node, blobs) for index, node in enumerate(events)),
        unrecorded={visible(key): node.count() for key, node in top["unrecorded"].members().items()},
        truncated=None if truncated.value is None else _message(truncated),
    )


def read_build(node: JsonNode) -> RecordedBuild:
    """Read what is known of the module."""
    members = node.object(("sha256", "declaration", "exports"))
    sha256, declaration = members["sha256"], members["declaration"]
    return RecordedBuild(
        sha256=None if sha256.value is None else sha256.string(_SHA256, "a SHA-256 in lower-case hex, or null"),
        declaration=None if declaration.value is None else declaration.string(),
        exports=tuple(visible(item.string()) for item in members["exports"].items()),
    )


def _parse(data: bytes, file: str) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise GoldenError(file, "", "UTF-8", f"byte {data[error.start]:#04x} at offset {error.start}") from None
    except json.JSONDecodeError as error:
        raise GoldenError(file, "", "JSON", f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits; thousands of levels
        raise GoldenError(file, "", "JSON of a recording", "a number or a nesting beyond all use") from None


def _blob(sha256: str, node: JsonNode) -> Blob:
    members = node.object(("length",), ("base64",))
    length = members["length"].count()
    if "base64" not in members:
        return Blob(sha256, length, None)
    try:
        data = base64.b64decode(members["base64"].string(), validate=True)
    except (binascii.Error, ValueError):
        members["base64"].fail("base64")
    if len(data) != length:
        node.fail(f"{length} bytes", str(len(data)))
    if bytes_hash(data) != sha256:
        node.fail(f"bytes with the SHA-256 {sha256}", bytes_hash(data))
    return Blob(sha256, length, data)


# Events --------------------------------------------------------------------------------------------------------------


def _event(index: int, node: JsonNode, blobs: dict[str, Blob]) -> Event:
    optional = ("returned", "trap", "refused", "data", "result", "diagnostics")
    members = node.object(("call", "arguments"), optional)
    export = EXPORTS_BY_NAME[members["call"].one_of(tuple(EXPORTS_BY_NAME))]
    outcomes = [key for key in ("returned", "trap", "refused") if key in members]
    if len(outcomes) != 1:
        node.fail("one of returned, trap, refused", ", ".join(outcomes) or "none of them")
    if "refused" in members:
        return Event(index, export, refused=_message(members["refused"]))
    arguments = _arguments(members["arguments"], export)
    if "data" in members and export.name not in SLICE_EXPORTS:
        members["data"].fail(f"nothing: {export.name} reads no bytes")
    slice_ = _slice(members["data"], arguments, blobs) if "data" in members else None
    if "trap" in members:
        return Event(index, export, arguments, trap=_message(members["trap"]), slice=slice_)
    returned = _returned(members["returned"], export)
    if "result" in members or "diagnostics" in members:
        return _with_texts(Event(index, export, arguments, returned, slice=slice_), members)
    return Event(index, export, arguments, returned, slice=slice_)


def _with_texts(event: Event, members: dict[str, JsonNode]) -> Event:
    texts: dict[str, bytes] = {}
    unreadable = []
    for key in ("result", "diagnostics"):
        node = members.get(key)
        if node is None:
            continue
        if not event.export.returns_status:
            node.fail(f"nothing: {event.export.name} returns no status")
        if isinstance(node.value, dict) and "error" in node.value:
            unreadable.append(f"{key}: {_message(node.object(('error',))['error'])}")
        else:
            texts[key] = node.bytes()
    return replace(
        event,
        result=texts.get("result"),
        diagnostics=texts.get("diagnostics"),
        unreadable="; ".join(unreadable),
    )


def _message(node: JsonNode) -> str:
    return visible(node.string()) or "no message"


def _returned(node: JsonNode, export: Export) -> int | None:
    if not export.result:
        if node.value is not None:
            node.fail(f"null: {export.name} returns nothing")
        return None
    return node.count(2**32 - 1)


def _arguments(node: JsonNode, export: Export) -> tuple[int | float, ...]:
    items = node.items()
    if len(items) != len(export.parameters):
        node.fail(f"{len(export.parameters)} arguments of {export.signature}", str(len(items)))
    return tuple(_argument(item, kind) for item, kind in zip(items, export.wasm_parameters, strict=True))


def _argument(node: JsonNode, kind: WasmType) -> int | float:
    if kind == "i32":
        return node.count(2**32 - 1)
    if kind == "i64":
        number = parse_integer(node.value)
        if number is None or not 0 <= number < 2**64:
            node.fail("an integer 0 .. 2^64 - 1 as a decimal string")
        return number
    text = node.string()
    if text in _NAMED_FLOATS:
        return _NAMED_FLOATS[text]
    try:
        value = float(text) if len(text) <= MAX_FLOAT_CHARACTERS else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        node.fail("a float as a decimal string, nan, inf or -inf")
    return value


def _slice(node: JsonNode, arguments: tuple[int | float, ...], blobs: dict[str, Blob]) -> bytes | Blob | str:
    length = arguments[1]
    if isinstance(node.value, dict) and "outside" in node.value:
        node.object(("outside",))["outside"].true()
        return "outside"
    if isinstance(node.value, dict) and "sha256" in node.value:
        members = node.object(("sha256", "length"))
        blob = blobs.get(members["sha256"].string(_SHA256, "a SHA-256 in lower-case hex"))
        if blob is None:
            node.fail("the hash of one of the blobs")
        if not blob.length == members["length"].count() == length:
            node.fail(f"{length} bytes, as the argument says", str(blob.length))
        return blob
    data = node.bytes()
    if len(data) != length:
        node.fail(f"{length} bytes, as the argument says", str(len(data)))
    return data
