"""What the rest of a line could be: words, options, tokens, cases, files, all from the table of words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from refruntime.cases.steps import Call
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.contract.profile import Profile
from refruntime.repl.parameters import Completes
from refruntime.repl.parsing import WrongWord, fragment, written
from refruntime.repl.shell import Shell
from refruntime.repl.words.word import Word
from refruntime.resources import MODEL_SUFFIXES
from refruntime.samplers.llama_cpp_chain import KINDS
from refruntime.session.what_if import SAMPLER_RULES, SAMPLING
from refruntime.tokenizers.base import Tokenizer

MOST: Final = 200


class Suggestions:
    """Suggest how the last argument of an unfinished line could go on."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._vocabularies: dict[int, tuple[Tokenizer, list[str]]] = {}
        self._tensors: list[str] | None = None

    def of(self, line: str) -> tuple[str, list[str]]:
        """Return what is written of the last argument, and what could stand in its place."""
        before, begun = fragment(line)
        if before == 0:
            return begun, _fitting(self._shell.words.by_name, begun)
        try:
            word = self._shell.words.find(line.split()[0])
        except WrongWord:
            return begun, []
        candidates: Iterable[str] = self._sources()[_completes(word, line.split(), before)](begun)
        options = [each.flag or f"{each.key}=" for each in word.parameters if each.anywhere]
        return begun, _fitting([*options, *candidates] if begun else [*candidates, *options], begun)

    def _sources(self) -> dict[Completes, Callable[[str], Iterable[str]]]:
        return {
            "nothing": lambda _begun: (),
            "token": lambda begun: self._tokens(begun),
            "case": lambda _begun: self._shell.tools.golden.ids(),
            "tensor": lambda _begun: self._tensor_names(),
            "word": lambda _begun: self._shell.words.by_name,
            "export": lambda _begun: (*EXPORTS_BY_NAME, *self._bound()),
            "branch": lambda _begun: self._shell.branches.parked,
            "sampling": lambda _begun: [f"{name}=" for name in SAMPLING],
            "chain": lambda _begun: ("llama.cpp", "off", *(f"{name}=" for name in (*KINDS, "seed"))),
            "change": lambda begun: _changes(begun),
            "file": lambda begun: (*self._shell.tools.models, *_files(begun)),
        }

    def _tokens(self, begun: str) -> Iterator[str]:
        """Yield the texts of tokens in quotes; those of a vocabulary are written down once."""
        session = self._shell.branches.node.session
        if session is None:
            return
        tokenizer = session.subject.tokenizer
        known = self._vocabularies.get(id(tokenizer))
        if known is None:
            texts = {tokenizer.decode([token]) for token in range(tokenizer.vocab_size)}
            known = tokenizer, sorted(written(text) for text in texts if text)
            self._vocabularies[id(tokenizer)] = known
        wanted = begun if begun.startswith('"') else '"' + begun.lstrip("'")
        found = (text for text in known[1] if text.startswith(wanted))
        yield from (text for text, _ in zip(found, range(MOST), strict=False))

    def _tensor_names(self) -> list[str]:
        session = self._shell.branches.node.session
        if session is None or not session.ids:
            return []
        if self._tensors is None:
            self._tensors = list(session.subject.prefix_cache.tensors(session.ids[:1]))
        return self._tensors

    def _bound(self) -> list[str]:
        script = self._shell.branches.node.script
        return sorted({step.bind for step in script if isinstance(step, Call) and step.bind is not None})


def _completes(word: Word, written_so_far: Sequence[str], before: int) -> Completes:
    """Return what the next argument is completed with: that of the parameter whose turn it is, flags aside."""
    place = before - 1
    for parameter in word.parameters:
        if parameter.flag:
            place -= written_so_far.count(parameter.flag)
        elif parameter.key:
            place -= sum(each.startswith(f"{parameter.key}=") for each in written_so_far)
    for parameter in word.parameters:
        if not parameter.anywhere and place < parameter.most:
            return parameter.completes
        place -= parameter.most
    return "nothing"


def _fitting(candidates: Iterable[str], begun: str) -> list[str]:
    wanted = begun.lower()
    quoted = [] if begun.startswith(('"', "'")) else [f'"{begun}'.lower()]
    starts = (wanted, *quoted)
    return [text for text in dict.fromkeys(candidates) if text.lower().startswith(starts)][:MOST]


def _changes(begun: str) -> list[str]:
    """Return names of sampling values and profile keys, or the options of the key that is already there."""
    switches = [switch for switch in Profile.switches() if switch.rule.startswith(SAMPLER_RULES)]
    key, equals, _ = begun.partition("=")
    for switch in switches:
        if equals and key == switch.key:
            return [f'{key}="{option}"' if " " in option else f"{key}={option}" for option in switch.options]
    return [*(f"{name}=" for name in SAMPLING), *(f"{switch.key}=" for switch in switches)]


def _files(begun: str) -> Iterator[str]:
    """Yield model files and folders beside what is written; what cannot be read has none."""
    typed = Path(begun.strip("\"'")).expanduser()
    folder = typed if begun.endswith("/") else typed.parent
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.is_dir() or entry.suffix in MODEL_SUFFIXES:
            text = str(entry) + ("/" if entry.is_dir() else "")
            yield written(text.encode("utf-8", "surrogateescape")) if " " in text else text
