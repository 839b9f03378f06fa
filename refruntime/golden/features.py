"""The features that golden cases need, as data of the index: hosts of every language find them out alike (ID-1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from refruntime.cases.features import Found, ask
from refruntime.contract.features import ABSENCE, REFUSAL, REFUSALS, feature, required_feature, with_needs
from refruntime.contract.profile import Profile
from refruntime.engines.base import Engine
from refruntime.golden.corpus import Corpus
from refruntime.golden.reading import GoldenError, JsonNode
from refruntime.golden.values import bytes_hash

PLAIN: Final = "models/plain-"
"""How the paths of plain files begin."""


def plain_path(name: str) -> str:
    """Return where the plain file of a feature lies below `golden/`."""
    return f"{PLAIN}{name.replace('/', '-')}.{name.partition('/')[0]}"


def feature_table(needed: Iterable[str], profile: Profile) -> dict[str, Any]:
    """Return the part of the index that says which features there are and how a build is asked for them."""
    return {
        "absence": ABSENCE,
        "refusal": REFUSAL,
        "refusals": [status.name for status in REFUSALS],
        "required": required_feature(profile.containers),
        "plain": {
            name: {"file": plain_path(name), "needs": list(feature(name).needs), "title": feature(name).title}
            for name in with_needs(needed)
        },
    }


def parse_feature_table(node: JsonNode) -> None:
    """Check keys and types of the table. GoldenError."""
    fields = node.object(("absence", "refusal", "refusals", "required", "plain"))
    names = tuple(fields["plain"].members())
    for status in fields["refusals"].items(1):
        status.string()
    for key in ("absence", "refusal", "required"):
        fields[key].string()
    for entry in fields["plain"].members().values():
        members = entry.object(("file", "needs", "title"))
        members["file"].string()
        members["title"].string()
        for need in members["needs"].items():
            need.one_of(names)


def find_for_goldens(
    corpus: Corpus, index: Mapping[str, Any], ids: Iterable[str], fresh: Callable[[], Engine]
) -> Found:
    """Ask a build for the features that golden cases need, with the plain files of the corpus. GoldenError, OSError."""
    table = index["features"]
    names = {name for identifier in ids for name in index["cases"][identifier]["features"]}

    def plain_file(name: str) -> bytes:
        path = table["plain"][name]["file"]
        data = corpus.artifact(path)
        if bytes_hash(data) != index["models"].get(path, {}).get("sha256"):
            raise GoldenError(path, "", "the hash that the index gives", bytes_hash(data))
        return data

    return ask(fresh, names, plain_file, table["required"])


def write_plain_files(corpus: Corpus, index: Mapping[str, Any], make: Callable[[str], bytes]) -> None:
    """Write the plain file of every feature of the index; those of features that no case needs any more go."""
    wanted = {entry["file"]: name for name, entry in index["features"]["plain"].items()}
    for path in [name for name in corpus.files() if name.startswith(PLAIN) and name not in wanted]:
        corpus.remove(path)
    for path, name in wanted.items():
        corpus.write(path, make(name))
