"""Recompute everything that a corpus of goldens says about itself. A stored hash is never held against another one.

`verify(corpus)` gives a `Verification`: every finding names the file, what was expected and what was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refruntime.cases.needs import needs_of
from refruntime.golden.case import GoldenCase
from refruntime.golden.corpus import Corpus
from refruntime.golden.expect import GoldenExpectation, inputs_hash, parse_expectation
from refruntime.golden.features import feature_table
from refruntime.golden.index import INDEX, contract_tables, parse_index, profile_of, with_root
from refruntime.golden.reading import GoldenError, check_disk_form, parse_document
from refruntime.golden.samples import check_samples
from refruntime.golden.values import ARRAY_TYPES, bytes_hash, parse_npy
from refruntime.golden.verification import Verification
from refruntime.golden.verify_files import check_coverage, check_files, check_models


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
    check_models(corpus, index, used, result)
    check_files(corpus, index, result)
    if not partial:
        check_coverage(corpus, index, result)
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
