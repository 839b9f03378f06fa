"""`refruntime tokenize`: text to ids, with every byte visible."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from refruntime.commands.files import profile_option, reachable
from refruntime.commands.shared import (
    MODEL,
    add_row,
    contract_failures,
    json_option,
    map_file,
    plain_table,
    status_document,
    unknown_bytes_option,
    visible,
    write_json,
)
from refruntime.contract.profile import Profile
from refruntime.errors import ContractError
from refruntime.model.load import read_tokenizer
from refruntime.show.text import count
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.bpe import BpeTokenizer
from refruntime.tokenizers.spm import SpmTokenizer
from refruntime.tokenizers.unknown_bytes import with_unknown_bytes
from refruntime.tokenizers.vocabulary import Vocabulary
from refruntime.tokenizers.word_pieces import WordPieceTokenizer
from refruntime.utf8 import checked_prompt, raw_bytes


@click.command(
    "tokenize",
    epilog="""\b
Examples:
  refruntime tokenize model.gguf "Hello world"
  refruntime tokenize vocabulary.gguf "Hello world" --no-add-special --json
  printf '"one text"\\n"another"\\n' | refruntime tokenize model.gguf --jsonl -
""",
)
@MODEL
@click.argument("text", required=False)
@click.option(
    "--jsonl",
    metavar="FILE",
    help="One JSON string a line in, a JSON list of ids a line out, or an object that says what is wrong; - is stdin.",
)
@click.option(
    "--add-special/--no-add-special",
    default=None,
    help="Add BOS and EOS as the model says.  [default: yes for TEXT, no for --jsonl]",
)
@click.option("--parse-special", is_flag=True, help="Take the texts of control tokens as these tokens (GGUF).")
@unknown_bytes_option
@profile_option
@json_option
def tokenize_command(
    model: Path,
    text: str | None,
    jsonl: str | None,
    add_special: bool | None,
    parse_special: bool,
    unknown_bytes: str,
    profile: Profile,
    as_json: bool,
) -> None:
    """Encode TEXT with the tokenizer of MODEL, an SLM1 or GGUF file; a GGUF file needs no tensors for that.

    Shown are ids and pieces: ␣ is a space, ␊ a line feed, \\xff a byte that is not UTF-8. A terminal EOS, which
    a generation removes from its prompt, is still there. A prompt is plain text: what spells a control token is not
    one, unless --parse-special says so. For byte-pair vocabularies the words are shown too, within which pieces merge.
    """
    if (text is None) == (jsonl is None):
        raise click.UsageError("Give either TEXT or --jsonl.")
    data = map_file(model)
    with contract_failures(as_json, model=str(model)):
        tokenizer = with_unknown_bytes(read_tokenizer(data, profile), unknown_bytes)
        if jsonl is not None:
            wrong = _encode_lines(tokenizer, jsonl, bool(add_special), parse_special)
            if wrong:
                click.echo(f"{wrong} lines could not be encoded; their answers say why", err=True)
                raise click.exceptions.Exit(1)
            return
        raw = checked_prompt(raw_bytes(text or ""))
        ids = _encode(tokenizer, raw, add_special is not False, parse_special)
    words = _words(tokenizer, raw, parse_special)
    if as_json:
        document = {"model": str(model), "tokenizer": tokenizer.kind, "ids": ids, "tokens": _tokens(tokenizer, ids)}
        write_json(document if words is None else {**document, "words": words})
    else:
        _print_tokens(tokenizer, ids, words)


def _encode(tokenizer: Tokenizer, text: bytes, add_special: bool, parse_special: bool) -> list[int]:
    if isinstance(tokenizer, SpmTokenizer | BpeTokenizer | WordPieceTokenizer):
        return tokenizer.encode(text, add_special=add_special, parse_special=parse_special)
    return tokenizer.encode(text, add_special=add_special)  # no text spells a special token of SLM1


def _words(tokenizer: Tokenizer, text: bytes, parse_special: bool) -> list[str] | None:
    """Return the special tokens and the words of a text, made visible; None if the tokenizer knows no words."""
    if not isinstance(tokenizer, BpeTokenizer):
        return None
    words = []
    for fragment in tokenizer.vocabulary.split(text, parse_special=parse_special):
        if isinstance(fragment, int):
            words.append(visible(tokenizer.vocabulary.texts[fragment]))
        else:
            words += [visible(word.encode()) for word in tokenizer.words(fragment)]
    return words


def _encode_lines(tokenizer: Tokenizer, source: str, add_special: bool, parse_special: bool) -> int:
    """Write a list of ids, or an object with what was wrong, for each line; returns how many were wrong."""
    wrong = 0
    for number, line in _lines(source):
        try:
            ids = _encode(tokenizer, checked_prompt(raw_bytes(_json_string(line))), add_special, parse_special)
        except ContractError as error:
            answer: object = {"line": number, **status_document(error)}
        except ValueError as error:
            answer = {"line": number, "status": None, "error": {"detail": str(error)}}
        else:
            answer = ids
        wrong += isinstance(answer, dict)
        sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\n")
    return wrong


def _lines(source: str) -> Iterator[tuple[int, bytes]]:
    with reachable(source):
        opened = click.open_file(source, "rb")  # `-` is standard input
    with opened as lines:
        yield from enumerate(lines, start=1)


def _json_string(line: bytes) -> str:
    """Return the string that a line holds; ValueError in plain words for another line."""
    try:
        text = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("expected a JSON string, found deep nesting") from error
    if not isinstance(text, str):
        raise ValueError(f"expected a JSON string, found {type(text).__name__}")
    return text


def _tokens(tokenizer: Tokenizer, ids: list[int]) -> list[dict[str, Any]]:
    """Describe every token: the bytes that it decodes to, the same made visible, and its vocabulary entry."""
    tokens = []
    for token in ids:
        raw = tokenizer.decode([token])
        tokens.append(
            {"id": token, "bytes": raw.hex(), "piece": visible(raw), "entry": _vocabulary_entry(tokenizer, token)}
        )
    return tokens


def _vocabulary_entry(tokenizer: Tokenizer, token: int) -> str | None:
    """Return the text that a GGUF vocabulary stores for a token; the byte tokenizers of SLM1 store none."""
    vocabulary = getattr(tokenizer, "vocabulary", None)
    return visible(vocabulary.texts[token]) if isinstance(vocabulary, Vocabulary) else _SPECIALS.get(token)


_SPECIALS = {256: "BOS", 257: "EOS", 258: "PAD", 259: "UNK"}


def _print_tokens(tokenizer: Tokenizer, ids: list[int], words: list[str] | None) -> None:
    table = plain_table("#", "id", "bytes", "piece", "vocabulary entry", right=("#", "id"))
    for index, token in enumerate(_tokens(tokenizer, ids)):
        entry = "" if token["entry"] is None else token["entry"]
        add_row(table, index, token["id"], bytes.fromhex(token["bytes"]).hex(" "), token["piece"], entry)
    console = Console()
    console.print(table)
    console.print(
        f"{count(len(ids), 'token')}, tokenizer {tokenizer.kind} with {tokenizer.vocab_size} ids", highlight=False
    )
    if words is not None:
        console.print(Text("words: " + " ".join(words)), soft_wrap=True)
    console.print(",".join(map(str, ids)), highlight=False, soft_wrap=True)
