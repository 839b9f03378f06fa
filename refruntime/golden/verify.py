"""Recompute everything that a corpus of goldens says about itself. A stored hash is never held against another one.

`verify(corpus)` gives a `Verification`: every finding names the file, what was expected and what was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from refruntime.atomic import PARTIAL
from refruntime.cases.needs import needs_of
from refruntime.contract.rules import load_rules
from refruntime.golden.case import IDENTIFIER, GoldenCase
from refruntime.golden.corpus import CASE_FILES, Corpus
from refruntime.golden.expect import GoldenExpectation, inputs_hash, parse_expectation
from refruntime.golden.features import feature_table
from refruntime.golden.index import INDEX, contract_tables, parse_index, profile_of, with_root
from refruntime.golden.reading import GoldenError, JsonNode, check_disk_form, parse_document, shown
from refruntime.golden.samples import check_samples
from refruntime.golden.values import ARRAY_TYPES, bytes_hash, parse_npy

MAX_TOTAL_BYTES: Final = 8_000_000
UNPINNED: Final = "UNPINNED.md"
MODEL_INDEX: Final = "models/INDEX.json"
TOP_SUFFIXES: Final = (".md", ".mjs", ".html")
"""Of the files beside the index, those that are documents and consumers."""
PARTS: Final = "consumer"
"""The folder of the consumers' parts."""

_UNPINNED_RULE: Final = re.compile(r"(?:\||[-*])\s*[`*]*([A-Z]+-[A-Za-z0-9]+)[`*]*\s*(?:\||:|\u2014|-)\s*(\S.*)")


@dataclass(frozen=True)
class VerifyFinding:
    """Something wrong: the file (with the place inside it), what was expected, and what was found."""

    file: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.file}: expected {self.expected}, found {self.found}"


@dataclass
class Verification:
    """What was found, and how much was looked at."""

    findings: list[VerifyFinding] = field(default_factory=list)
    cases: int = 0
    steps: int = 0
    samples: int = 0
    hashes: int = 0
    files: int = 0
    total_bytes: int = 0
    rules_pinned: int = 0
    rules_unpinned: int = 0
    root: str = ""
    contract: frozenset[str] = field(default_factory=lambda: frozenset(load_rules()), repr=False)

    def add(self, file: str, expected: str, found: str) -> None:
        """Note a finding."""
        self.findings.append(VerifyFinding(file, expected, found))

    def note(self, error: GoldenError | OSError) -> None:
        """Note what could not be read."""
        if isinstance(error, GoldenError):
            self.add(f"{error.file}: {error.path}" if error.path else error.file, error.expected, error.found)
        else:
            self.add(str(error.filename), "a file that can be read", error.strerror or str(error))

    def same(self, file: str, what: str, expected: object, found: object) -> None:
        """Compare a recomputed value with the stored one."""
        self.hashes += 1
        if expected != found:
            self.add(file, f"{what} {shown(expected)}", shown(found))


def verify(corpus: Corpus, *, partial: bool = False) -> Verification:
    """Recompute every hash and hold the corpus against the format and the contract.

    With `partial` a rule that no case pins is no finding: a corpus of one's own need not cover the contract.
    """
    result = Verification()
    try:
        data = corpus.read(INDEX)
        index = parse_index(data, form=False)
        check_disk_form(data, parse_document(data, INDEX), INDEX)
    except (GoldenError, OSError) as error:
        result.note(error)
        return result
    _check_tables(index, result)
    used = _check_cases(corpus, index, result) | _check_features(index, result)
    _check_models(corpus, index, used, result)
    _check_files(corpus, index, result)
    if not partial:
        _check_coverage(corpus, index, result)
    result.root = str(with_root(index)["root"])
    result.same(INDEX, "the root hash", result.root, index["root"])
    return result


def _check_tables(index: Mapping[str, Any], result: Verification) -> None:
    """Hold the tables of the contract in the index against the package (contract drift)."""
    try:
        profile = profile_of(index)
    except GoldenError as error:
        result.note(error)
        return
    for key, expected in contract_tables(profile).items():
        stored = index[key]
        if not isinstance(expected, dict):
            result.same(f"{INDEX}: $.{key}", f"the package's {key}", expected, stored)
            continue
        for name in sorted(expected.keys() | stored.keys()):
            place = f"{INDEX}: $.{key}.{name}"
            result.same(place, f"the package's {key} of {name}:", expected.get(name), stored.get(name))


def _check_features(index: Mapping[str, Any], result: Verification) -> set[str]:
    """Hold the table of features against what the cases need; return the plain files (ID-1)."""
    needed = {name for entry in index["cases"].values() for name in entry["features"]}
    try:
        expected = feature_table(needed, profile_of(index))
    except (GoldenError, ValueError) as error:
        result.add(f"{INDEX}: $.features", "features that the contract names", str(error))
        return set()
    result.same(f"{INDEX}: $.features", "the features that the cases need:", expected, index["features"])
    return {entry["file"] for entry in expected["plain"].values()}


# Cases ---------------------------------------------------------------------------------------------------------------


def _check_cases(corpus: Corpus, index: Mapping[str, Any], result: Verification) -> set[str]:
    """Check every case that has a folder or an entry; return the model files that they load."""
    used: set[str] = set()
    ids = corpus.ids()
    for identifier in sorted({*ids, *index["cases"]}):
        if identifier not in ids:
            result.add(f"cases/{identifier}/case.json", "the case that INDEX.json lists", "no such file")
            continue
        try:
            golden = corpus.case(identifier)
        except (GoldenError, OSError) as error:
            result.note(error)
            continue
        used |= {spec.file for spec in golden.models.values()}
        entry = index["cases"].get(identifier)
        if entry is None:
            result.add(
                f"{INDEX}: $.cases", f"the case {identifier}, which has a folder", "no entry; run refruntime fill"
            )
        try:
            _check_case(corpus, golden, entry or {}, index, result)
        except (GoldenError, OSError) as error:
            result.note(error)
    return used


def _check_case(
    corpus: Corpus, golden: GoldenCase, entry: Mapping[str, Any], index: Mapping[str, Any], result: Verification
) -> None:
    folder = f"cases/{golden.id}/"
    place = f"{INDEX}: $.cases.{golden.id}"
    if entry:
        result.same(f"{place}.case", "the hash of case.json", golden.hash, entry["case"])
        result.same(f"{place}.rules", "the rules of case.json", list(golden.rules), entry["rules"])
    for rule in golden.rules:
        if rule not in result.contract:
            result.add(f"{folder}case.json: $.rules", "rules of the contract", rule)
    if corpus.read_if_there(folder + "expect.json") is None:
        result.add(folder + "expect.json", "the answers of the case", "no such file; run refruntime fill")
        return
    expectation = parse_expectation(golden, corpus.read(folder + "expect.json"))
    if entry:
        result.same(f"{place}.expect", "the hash of expect.json", expectation.hash, entry["expect"])
    result.same(
        f"{folder}expect.json: $.contract", "the contract of the index", index["contract"], expectation.contract
    )
    fingerprint = index["profile"]["fingerprint"]
    result.same(f"{folder}expect.json: $.profile", "the profile of the index", fingerprint, expectation.profile)
    _check_arrays(corpus, golden, entry, expectation, result)
    case = golden.case(corpus.artifact)
    if entry:
        result.same(f"{place}.features", "what its models need:", list(needs_of(case)), entry["features"])
    inputs = inputs_hash(golden, case)
    result.same(f"{folder}expect.json: $.inputs", "the hash of case and models", inputs, expectation.inputs)
    result.cases += 1
    result.steps += len(expectation.steps)
    result.samples += len(expectation.samples)


def _check_arrays(
    corpus: Corpus,
    golden: GoldenCase,
    entry: Mapping[str, Any],
    expectation: GoldenExpectation,
    result: Verification,
) -> None:
    folder = f"cases/{golden.id}/"
    listed, arrays = entry.get("arrays", {}), {}
    for name, type_ in ARRAY_TYPES.items():
        data = corpus.read_if_there(folder + name)
        found = None if data is None else bytes_hash(data)
        if data is None and name in listed:
            result.add(folder + name, "the array that INDEX.json lists", "no such file")
        elif entry:
            result.same(f"{INDEX}: $.cases.{golden.id}.arrays.{name}", "the hash of the array", found, listed.get(name))
        array = None if data is None else parse_npy(data, type_)
        if array is not None:
            arrays[name] = array
        elif data is not None:
            result.add(folder + name, f"a one-dimensional .npy 1.0 of type {type_}", f"{len(data)} other bytes")
    for name in listed:
        if name not in ARRAY_TYPES:
            result.add(f"{INDEX}: $.cases.{golden.id}.arrays", f"only {', '.join(ARRAY_TYPES)}", name)
    check_samples(folder + "expect.json", expectation.samples, arrays)


# Models, files, rules ------------------------------------------------------------------------------------------------


def _check_models(corpus: Corpus, index: Mapping[str, Any], used: set[str], result: Verification) -> None:
    described = _model_index(corpus, result)
    for name in sorted({*index["models"], *used}):
        entry = index["models"].get(name, {})
        try:
            data = corpus.artifact(name)
        except (GoldenError, OSError) as error:
            result.note(GoldenError(name, "", "the model", "no such file") if isinstance(error, OSError) else error)
            continue
        found = {"bytes": len(data), "sha256": bytes_hash(data)}
        result.same(f"{INDEX}: $.models.{name}", f"the size and hash of {name}", found, dict(entry) or None)
        if name in described:
            result.same(f"{MODEL_INDEX}: $.models.{name}", f"the size and hash of {name}", found, described[name])
        elif name not in used:
            result.add(name, f"a model that a case loads, or one that {MODEL_INDEX} lists", "neither")
    for name in sorted(described.keys() - index["models"].keys()):
        result.add(f"{MODEL_INDEX}: $.models", "models that INDEX.json lists", name)


def _model_index(corpus: Corpus, result: Verification) -> dict[str, dict[str, Any]]:
    """Return size and hash by path from the list of trained models, which need not be loaded by a case."""
    try:
        data = corpus.read_if_there(MODEL_INDEX)
        if data is None:
            return {}
        models = JsonNode(_any_json(data), MODEL_INDEX).members()["models"].members()
        keys = ("bytes", "sha256")
        return {f"models/{name}": {key: node.members()[key].value for key in keys} for name, node in models.items()}
    except (GoldenError, OSError) as error:
        result.note(error)
    except KeyError as error:
        result.add(MODEL_INDEX, f"the key {error}", "none")
    return {}


def _any_json(data: bytes) -> Any:
    """Parse a description of models; it tells of training, so it may hold any JSON."""
    import json

    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise GoldenError(MODEL_INDEX, "", "JSON", str(error)) from None


def _check_files(corpus: Corpus, index: Mapping[str, Any], result: Verification) -> None:
    """Find files that nobody refers to, links, and a corpus that is too large."""
    for name in corpus.files():
        result.files += 1
        path = corpus.path(name)
        if path.is_symlink():
            result.add(name, "a file", "a symbolic link")
            continue
        result.total_bytes += path.stat().st_size
        if name.endswith(PARTIAL):
            result.add(name, "no file that an interrupted fill left", "it is there; run refruntime fill")
        elif not _is_known(name, index):
            result.add(name, "a file that the format knows and that is referred to", "an orphan")
    if result.total_bytes > MAX_TOTAL_BYTES:
        result.add(".", f"at most {MAX_TOTAL_BYTES} bytes in all", str(result.total_bytes))


def _is_known(name: str, index: Mapping[str, Any]) -> bool:
    folder, _, file = name.rpartition("/")
    if not folder:
        return name == INDEX or name.endswith(TOP_SUFFIXES)
    if folder == PARTS:
        return file.endswith(".mjs")
    if folder == "models":
        return name in index["models"] or file in ("INDEX.json", "README.md")
    identifier = folder.removeprefix("cases/")
    return folder.startswith("cases/") and IDENTIFIER.fullmatch(identifier) is not None and file in CASE_FILES


def unpinned_rules(text: str) -> Iterator[tuple[str, str]]:
    """Yield rule and reason from `UNPINNED.md`: rows `| ID | reason |`, or list items `- ID: reason`."""
    for line in text.splitlines():
        match = _UNPINNED_RULE.match(line.strip())
        if match:
            yield match[1], match[2].rstrip("| ").strip()


def _check_coverage(corpus: Corpus, index: Mapping[str, Any], result: Verification) -> None:
    """Every rule is pinned by a case or excused with a reason, and not both."""
    try:
        text = corpus.read(UNPINNED).decode("utf-8")
    except FileNotFoundError:
        result.add(UNPINNED, "the rules that no case pins, with reasons", "no such file")
        text = ""
    except (OSError, GoldenError) as error:
        result.note(error)
        return
    except UnicodeDecodeError as error:
        result.add(UNPINNED, "UTF-8", f"another byte at offset {error.start}")
        return
    excused = list(unpinned_rules(text))
    pinned = {rule for entry in index["cases"].values() for rule in entry["rules"]}
    names = [rule for rule, _ in excused]
    for rule, reason in excused:
        if rule not in result.contract:
            result.add(UNPINNED, "rules of the contract", rule)
        elif rule in pinned:
            result.add(UNPINNED, "only rules that no case pins", f"{rule}, which a case cites")
        if len(reason) < 10:
            result.add(UNPINNED, f"a reason for {rule}", repr(reason))
        if names.count(rule) > 1:
            result.add(UNPINNED, "every rule once", f"{rule} {names.count(rule)} times")
    for rule in sorted(result.contract):
        if rule not in pinned and rule not in names:
            result.add(UNPINNED, f"a case that cites {rule}, or a reason for none here", "neither")
    result.rules_pinned, result.rules_unpinned = len(pinned & result.contract), len(set(names))
