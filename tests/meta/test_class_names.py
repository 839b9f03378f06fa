"""One name, one thing: a class of the package is not called as a class of another file."""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import Final

from tests.meta.test_house import MODULES, PACKAGE

# Names that several files use, and what they have in common or in how different rooms they are.
SHARED: Final = {
    "Answer": "of a word, of a build to identify, of a golden, of a page",
    "Attention": "of the layout, of the arithmetic, as a session shows it",
    "Build": "asked, recorded, compared with",
    "Candidate": "of a decision, of a choice that is explained",
    "Comparison": "of a case, of the checksum field in a build's code",
    "Decision": "of a sampler, of an order of arithmetic",
    "Evidence": "of a learnt option, of an order of arithmetic",
    "Explanation": "the protocol and what fulfils it; of another runtime's chain",
    "Family": "of words, of cases",
    "Finding": "of verify, of a fuzz run, of a judge, of the witness",
    "Generation": "of the API, of calls",
    "GgufFile": "read, made",
    "Judgement": "of a case, of an engine",
    "Load": "a step, an instruction",
    "Model": "open, laid out",
    "Observed": "in a build, of an engine",
    "Outcome": "of a line, of a case that is filled",
    "Parameter": "of a word, of an export",
    "Part": "of a comparison in code, of a reach",
    "Place": "of a person, of an array",
    "Reader": "of a GGUF file, of a module",
    "Session": "of steps, of a person",
    "Settings": "of pytest, of a chain",
    "State": "of the contract, of a session",
    "Subject": "of a fuzz run, of a session",
    "Verdict": "of a case, of an engine",
    "Vocabulary": "read, made",
}


def test_class_names_are_unique() -> None:
    """A reader who meets a name of a class knows which; the names above wait for better ones."""
    places = defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path.relative_to(PACKAGE).as_posix())
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert not {name: found for name, found in twice.items() if name not in SHARED}
    assert not [name for name in SHARED if name not in twice]
