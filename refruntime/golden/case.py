"""`case.json`: a session written by people, as a `Case` of the step language and back (golden/FORMAT.md, section 3)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from refruntime.cases.steps import Argument, Call, Case, Configure, Generate, Load, Step, Write
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.golden.reading import JsonNode, check_disk_form, parse_document
from refruntime.golden.values import FORMAT_VERSION, hex_float, json_hash, json_integer, parse_float

IDENTIFIER: Final = re.compile(r"[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9.-]*")
MODEL_FILE: Final = r"models/(?!\.)[A-Za-z0-9._-]+"
MODEL_NAME: Final = r"[a-z0-9][a-z0-9._-]*"
BOUND_NAME: Final = r"[a-z][a-z_]*"
PLACE: Final = re.compile(r"([a-z][a-z_]*)(?:\+(0|[1-9][0-9]{0,9}))?")
MAX_STEPS: Final = 10_000
MAX_ARTIFACT_BYTES: Final = 1 << 27


@dataclass(frozen=True)
class ModelSpec:
    """How an artifact is made: a file below `golden/`, cut to `length`, with bytes written over it and bytes added."""

    file: str
    length: int | None = None
    patch: tuple[tuple[int, bytes], ...] = ()
    append: bytes = b""

    def artifact(self, data: bytes, place: JsonNode) -> bytes:
        """Return the artifact made of the file's bytes. GoldenError when it does not reach as far as the spec says."""
        if self.length is not None and self.length > len(data):
            place.fail(f"a length of at most {len(data)} bytes, which {self.file} has", str(self.length))
        if self == ModelSpec(self.file):
            return data  # the file itself, shared by all cases that load it
        result = bytearray(data[: self.length])
        for at, patch in self.patch:
            if at + len(patch) > len(result):
                place.fail(f"patches inside the {len(result)} bytes", f"{len(patch)} bytes at {at}")
            result[at : at + len(patch)] = patch
        return bytes(result) + self.append


@dataclass(frozen=True)
class GoldenCase:
    """A `case.json` as it was read; `document` is the JSON with its comments, `hash` that of its canonical form."""

    id: str
    about: str
    rules: tuple[str, ...]
    models: Mapping[str, ModelSpec]
    steps: tuple[Step, ...]
    exact: str
    opinion: str
    document: Any
    hash: str

    @property
    def family(self) -> str:
        """Return the part of the id before the slash."""
        return self.id.partition("/")[0]

    def case(self, files: Callable[[str], bytes]) -> Case:
        """Return the case with its artifacts; `files` gives the bytes of a path below `golden/`. GoldenError."""
        place = JsonNode(self.document, f"cases/{self.id}/case.json")
        models = {
            name: spec.artifact(files(spec.file), JsonNode(None, place.file, f"$.models.{name}"))
            for name, spec in self.models.items()
        }
        return Case(self.id, self.steps, models, self.rules)


def parse_case(identifier: str, data: bytes, *, form: bool = True) -> GoldenCase:
    """Read a `case.json`; with `form` it must be in the on-disk form. GoldenError names place, expected and found."""
    file = f"cases/{identifier}/case.json"
    document = parse_document(data, file)
    root = JsonNode(document, file)
    fields = root.object(("about", "format", "rules", "steps"), ("models", "exact", "opinion"))
    if fields["format"].value != FORMAT_VERSION or isinstance(fields["format"].value, bool):
        fields["format"].fail(str(FORMAT_VERSION))
    rules = tuple(rule.string(r"[A-Z]+-[A-Za-z0-9]+", "the id of a rule") for rule in fields["rules"].items(1))
    if len(set(rules)) != len(rules):
        fields["rules"].fail("every rule once")
    named = fields["models"].members() if "models" in fields else {}
    models = {name: _model(name, node) for name, node in named.items()}
    nodes = fields["steps"].items(1)
    if len(nodes) > MAX_STEPS:
        fields["steps"].fail(f"at most {MAX_STEPS} steps", str(len(nodes)))
    bound: set[str] = set()
    steps = tuple(_step(node, models, bound) for node in nodes)
    unused = sorted(models.keys() - {step.model for step in steps if isinstance(step, Load)})
    if unused:
        fields["models"].fail("models that a step loads", f"{unused[0]!r}, which none loads")
    if form:
        check_disk_form(data, document, file)
    return GoldenCase(
        id=identifier,
        about=_sentence(fields["about"]),
        rules=rules,
        models=models,
        steps=steps,
        exact=_sentence(fields["exact"]) if "exact" in fields else "",
        opinion=fields["opinion"].string(r"[a-z0-9-]+", "the name of a check") if "opinion" in fields else "",
        document=document,
        hash=json_hash(document),
    )


def _sentence(node: JsonNode) -> str:
    return node.string(r"\S(?:.*\S)?", "a sentence without line breaks")


def _model(name: str, node: JsonNode) -> ModelSpec:
    if not re.fullmatch(MODEL_NAME, name):
        node.fail("a name made of a-z, 0-9, `-`, `_` and `.`", repr(name))
    fields = node.object(("file",), ("length", "patch", "append"))
    patches = []
    for patch in fields["patch"].items(1) if "patch" in fields else []:
        members = patch.object(("at", "hex"))
        patches.append((members["at"].count(MAX_ARTIFACT_BYTES), members["hex"].hex_bytes()))
    return ModelSpec(
        file=fields["file"].string(MODEL_FILE, "a path such as models/table.slm1"),
        length=fields["length"].count(MAX_ARTIFACT_BYTES) if "length" in fields else None,
        patch=tuple(patches),
        append=fields["append"].bytes() if "append" in fields else b"",
    )


# Steps ---------------------------------------------------------------------------------------------------------------


def _step(node: JsonNode, models: Mapping[str, ModelSpec], bound: set[str]) -> Step:
    kinds = {"call": ("bind",), "write": ("bytes",), "load": (), "configure": (), "generate": ()}
    present = [kind for kind in kinds if kind in node.members()]
    if len(present) != 1:
        node.fail(f"exactly one of the keys {', '.join(kinds)}", ", ".join(present) or "none")
    kind = present[0]
    fields = node.object((kind, "bytes") if kind == "write" else (kind,), kinds[kind])
    value = fields[kind]
    if kind == "call":
        return _call(value, fields.get("bind"), bound)
    if kind == "write":
        return Write(_place(value, bound), fields["bytes"].bytes())
    if kind == "load":
        return Load(value.one_of(tuple(models)))
    if kind == "configure":
        members = value.object(("temperature", "top_k", "top_p", "seed"))
        return Configure(
            members["temperature"].floating(),
            members["top_k"].integer(),
            members["top_p"].floating(),
            members["seed"].integer(),
        )
    members = value.object(("prompt", "max_new_tokens"))
    return Generate(members["prompt"].bytes(), members["max_new_tokens"].integer())


def _call(node: JsonNode, bind: JsonNode | None, bound: set[str]) -> Call:
    export_node, *arguments = node.items(1)
    export = EXPORTS_BY_NAME[export_node.one_of(tuple(EXPORTS_BY_NAME))]
    types = export.wasm_parameters
    if len(arguments) != len(types):
        node.fail(f"{len(types)} arguments for {export.signature}", f"{len(arguments)}")
    values = tuple(_argument(argument, type_, bound) for argument, type_ in zip(arguments, types, strict=True))
    if bind is None:
        return Call(export.name, values)
    name = bind.string(BOUND_NAME, "a name made of a-z and `_`")
    if name in ("inf", "nan"):
        bind.fail("a name that is not a number")
    if not export.result:
        bind.fail(f"no name, because {export.name} returns nothing")
    bound.add(name)
    return Call(export.name, values, name)


def _argument(node: JsonNode, type_: str, bound: set[str]) -> Argument:
    if isinstance(node.value, str) and node.value[:1].isalpha() and node.value not in ("inf", "nan"):
        if type_ == "f32":
            node.fail("a float")
        return _place(node, bound)
    if type_ == "f32":
        return node.floating()
    return node.integer()


def _place(node: JsonNode, bound: set[str]) -> str:
    match = PLACE.fullmatch(node.value) if isinstance(node.value, str) else None
    if match is None or match[1] not in bound:
        node.fail("a name that an earlier call bound, with an optional offset such as `+4`")
    return str(node.value)


# Back to JSON --------------------------------------------------------------------------------------------------------


def step_document(step: Step) -> dict[str, Any]:
    """Return a step as the golden format writes it; reading it again gives an equal step."""
    if isinstance(step, Call):
        types = EXPORTS_BY_NAME[step.export].wasm_parameters
        arguments = [_argument_value(value, type_) for value, type_ in zip(step.arguments, types, strict=True)]
        call = {"call": [step.export, *arguments]}
        return call if step.bind is None else {**call, "bind": step.bind}
    if isinstance(step, Write):
        return {"write": step.to, "bytes": bytes_value(step.data)}
    if isinstance(step, Load):
        return {"load": step.model}
    if isinstance(step, Configure):
        return {
            "configure": {
                "temperature": float_value(step.temperature),
                "top_k": json_integer(int(step.top_k)),
                "top_p": float_value(step.top_p),
                "seed": json_integer(int(step.seed)),
            }
        }
    count = json_integer(int(step.max_new_tokens))
    return {"generate": {"prompt": bytes_value(step.prompt), "max_new_tokens": count}}


def _argument_value(value: Argument, type_: str) -> int | str:
    if isinstance(value, str):
        return value
    return float_value(value) if type_ == "f32" else json_integer(int(value))


def bytes_value(data: bytes) -> Any:
    """Return bytes for people: as text where they are printable, as a repetition where they repeat, else as hex."""
    if len(data) > 64 and len(set(data)) == 1:
        return {"hex": data[:1].hex(), "repeat": len(data)}
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data.hex()
    return {"text": text} if text and text.isprintable() else data.hex()


def float_value(value: float) -> str:
    """Return a float for people: the shortest decimal that gives the same double where that is a plain one."""
    number = float(value)
    if not math.isfinite(number) or (number == 0 and math.copysign(1, number) < 0):
        return hex_float(number)
    text = str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    return text if parse_float(text) == number else hex_float(number)
