"""Hold the models, the files and the list of rules of a corpus against its index."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from refruntime.atomic import PARTIAL
from refruntime.golden.case import IDENTIFIER
from refruntime.golden.corpus import CASE_FILES, Corpus
from refruntime.golden.index import INDEX
from refruntime.golden.reading import GoldenError, JsonNode
from refruntime.golden.values import bytes_hash
from refruntime.golden.verification import Verification

MAX_TOTAL_BYTES: Final = 8_000_000
UNPINNED: Final = "UNPINNED.md"
MODEL_INDEX: Final = "models/INDEX.json"
TOP_SUFFIXES: Final = (".md", ".mjs", ".html")
"""Of the files beside the index, those that are documents and consumers."""
PARTS: Final = "consumer"
"""The folder of the consumers' parts."""

_UNPINNED_RULE: Final = re.compile(r"(?:\||[-*])\s*[`*]*([A-Z]+-[A-Za-z0-9]+)[`*]*\s*(?:\||:|\u2014|-)\s*(\S.*)")


def check_models(corpus: Corpus, index: Mapping[str, Any], used: set[str], result: Verification) -> None:
    """Hold the size and the hash of every model against what the index and the list of trained ones say."""
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


def check_files(corpus: Corpus, index: Mapping[str, Any], result: Verification) -> None:
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


def check_coverage(corpus: Corpus, index: Mapping[str, Any], result: Verification) -> None:
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
