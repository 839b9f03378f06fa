"""The consumer for Node takes names, kinds and order of the diagnostics fields, and patterns, from data."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.consumers.golden_by_hand import FIELDS, FRESH_DOCUMENT, INIT, OK, answering, case, disk_form, hash_of
from tests.consumers.node import GOLDEN, PROJECT, missing_node
from tests.consumers.sessions import consume, fields, only, status


def test_the_index_lists_the_fields() -> None:
    """DG-3, DG-6: the stored index has the kinds and the order that were written down by hand."""
    assert json.loads((GOLDEN / "INDEX.json").read_text("utf-8"))["fields"] == FIELDS


def test_an_unknown_field_is_not_passed_over(tmp_path: Path) -> None:
    """DG-3: an answer with a diagnostics key that the index does not list is STALE; a comment is none."""
    wrong = status("Ok", kv_lenght=0)
    cases = {"abi/case": (case(INIT), [wrong]), "abi/note": (case(INIT), [status("Ok", _note=1)])}
    done = consume(tmp_path, answering(), cases)
    assert done.verdicts == {"abi/case": "STALE", "abi/note": "MATCH"}
    assert done.report["cases"][0]["reason"] == 'no diagnostics field: "kv_lenght"'


def _rewrite(golden: Path, **changes: Any) -> None:
    index = json.loads((golden / "INDEX.json").read_bytes())
    index.pop("root")
    index |= changes
    (golden / "INDEX.json").write_bytes(disk_form({**index, "root": hash_of(index)}))


def test_kind_and_order_follow_the_index(tmp_path: Path) -> None:
    """DG-7: a fraction is a float32 where the index says `float`, text elsewhere; differences come in its order."""
    document = {**FRESH_DOCUMENT, "kv_length": 0.1, "top_k": 2}
    answers = [status("Ok", kv_length="0x1.99999ap-4")]
    assert fields(only(tmp_path, answering(document), case(INIT), answers)) == ["kv_length", "top_k"]
    turned = [{**field, "kind": "float"} if field["name"] == "kv_length" else field for field in reversed(FIELDS)]
    _rewrite(tmp_path / "golden", fields=turned)
    assert fields(only(tmp_path, answering(document), case(INIT), answers)) == ["top_k"]
    document["kv_length"] = 0.2
    assert fields(only(tmp_path, answering(document), case(INIT), answers)) == ["top_k", "kv_length"]


@pytest.mark.parametrize(
    "listed",
    [
        FIELDS[1:], [*FIELDS, {**FIELDS[0], "name": "other"}], [{**FIELDS[0], "kind": "colour"}, *FIELDS[1:]],
        [None, *FIELDS], {}, None,
    ],
    ids=["one is missing", "one too many", "unknown kind", "null", "object", "none"],
)  # fmt: skip
def test_fields_that_are_not_as_the_format_says(tmp_path: Path, listed: Any) -> None:
    """DG-3: an index whose fields are incomplete, or of a kind that nobody knows, is refused."""
    assert consume(tmp_path, answering(), {"abi/case": (case(INIT), [OK])}).code == 0
    _rewrite(tmp_path / "golden", fields=listed)
    done = consume(tmp_path, answering(), {})
    assert (done.code, done.err) == (1, "INDEX.json: fields is not as FORMAT.md says\n")


def _matches(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Return for pairs of a pattern and a name whether the Node consumer lets them fit."""
    if missing_node():
        pytest.skip(missing_node())
    module = (GOLDEN / "consumer" / "pattern.mjs").as_uri()
    script = f"""
        import {{ fits }} from {json.dumps(module)};
        let text = "";
        for await (const part of process.stdin) text += part;
        console.log(JSON.stringify(JSON.parse(text).map(([pattern, name]) => fits(name, [], pattern))));
    """
    command = ["node", "--input-type=module", "-e", script]
    done = subprocess.run(command, input=json.dumps(pairs), capture_output=True, text=True, timeout=60, check=True)
    found: list[bool] = json.loads(done.stdout)
    return found


def test_shell_patterns() -> None:
    """ABI-5: every row of the table that the Python side is held to."""
    rows = json.loads((PROJECT / "tests" / "support" / "patterns.json").read_text("utf-8"))["rows"]
    pairs = [(pattern, name, fit) for pattern, *names in rows for fit, part in zip((True, False), names, strict=True)
             for name in part]  # fmt: skip
    found = _matches([(pattern, name) for pattern, name, _ in pairs])
    assert [pair for pair, fit in zip(pairs, found, strict=True) if fit != pair[2]] == []


def test_random_shell_patterns() -> None:
    """ABI-5: 4,000 patterns of the signs that mean something fit the same names as Python's own fnmatch."""
    dice = random.Random(11)
    make = lambda signs, most: "".join(dice.choice(signs) for _ in range(dice.randrange(most)))  # noqa: E731
    pairs = [(make("[]!-*?ab^", 8), make("ab-]![^", 4)) for _ in range(4000)]
    expected = [fnmatchcase(name, pattern) or name.startswith(f"{pattern}/") for pattern, name in pairs]
    assert sum(expected) > 200
    found = _matches(pairs)
    wrong = [pair for pair, mine, theirs in zip(pairs, expected, found, strict=True) if mine != theirs]
    assert wrong == []
