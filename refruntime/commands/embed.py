"""`refruntime embed`: texts to rows of numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

from refruntime.commands.computing import computing_options
from refruntime.commands.files import reachable
from refruntime.commands.files import save as write_file
from refruntime.commands.shared import (
    MODEL,
    NumericsChoice,
    add_row,
    contract_failures,
    ids_option,
    map_file,
    plain_table,
    progress,
    visible,
    write_json,
)
from refruntime.contract.profile import Profile
from refruntime.embeddings import POOLINGS, Embedding, EncoderModel, open_encoder
from refruntime.errors import ContractError

SHOWN_NUMBERS, SHOWN_TEXT = 4, 32


@click.command(
    "embed",
    epilog="""\b
Examples:
  refruntime embed model.gguf "a text" "another one" --normalize
  refruntime embed model.gguf --lines texts.txt --json
  printf 'one\\ntwo\\n' | refruntime embed model.gguf --lines - --save embeddings.npy
""",
)
@MODEL
@click.argument("texts", metavar="TEXT...", nargs=-1)
@click.option("--lines", metavar="FILE", help="Embed every line of a file; - is stdin.")
@ids_option
@click.option(
    "--pooling", type=click.Choice(POOLINGS), help="How the rows of a text become one.  [default: the file's]"
)
@click.option("--normalize", is_flag=True, help="Divide each embedding by its length, as for cosines.")
@click.option("--save", type=click.Path(path_type=Path), help="Write them to this .npy file: [texts, H].")
@computing_options
def embed_command(
    model: Path,
    texts: tuple[str, ...],
    lines: str | None,
    ids: list[int] | None,
    pooling: str | None,
    normalize: bool,
    save: Path | None,
    profile: Profile,
    numerics: NumericsChoice,
    as_json: bool,
) -> None:
    """Embed each TEXT with the encoder MODEL, a GGUF file of bert or nomic-bert.

    Each text is computed on its own; the model's marks stand around it. With --pooling none there is a row for every
    token, shown and saved one text after the other. The product of two normalised embeddings is their cosine. Every
    text is checked before the first is computed.
    """
    sources = _sources(texts, lines, ids)
    about: dict[str, Any] = {"model": str(model), "profile": profile.fingerprint, "numerics": numerics.name}
    data = map_file(model)
    with contract_failures(as_json, **about):
        with progress("loading"):
            encoder = open_encoder(data, profile, numerics.make())
        prepared = [_ids_of(encoder, source, place) for place, source in enumerate(sources, 1)]
        found: list[Embedding] = []
        with progress("embedding", len(sources)) as advance:
            for each in prepared:
                found += encoder.embed([each], pooling=pooling, normalize=normalize)
                advance(1)
    about |= {"pooling": pooling or encoder.pooling, "normalized": normalize}
    rows = [each.values.reshape(-1, each.values.shape[-1]) for each in found]  # [n or 1, H] each
    if save is not None:
        write_file(save, lambda file: np.save(file, np.concatenate(rows)), model)
    if as_json:
        embeddings = [_document(source, each) for source, each in zip(sources, found, strict=True)]
        write_json({**about, "saved": None if save is None else str(save), "embeddings": embeddings})
        return
    _print(sources, found, about["pooling"])
    if save is not None:
        click.echo(f"wrote {sum(map(len, rows))} x {rows[0].shape[1]} {rows[0].dtype.name} to {save}")


def _sources(texts: tuple[str, ...], lines: str | None, ids: list[int] | None) -> list[str | bytes | list[int]]:
    """Return what to embed; a usage error unless exactly one kind of it is there."""
    if (bool(texts), lines is not None, ids is not None).count(True) != 1:
        raise click.UsageError("Give either TEXT, one or several, or --lines, or --ids.")
    if ids is not None:
        return [ids]
    if lines is None:
        return list(texts)
    with reachable(lines), click.open_file(lines, "rb") as opened:
        found = opened.read().splitlines()
    if not found:
        raise click.UsageError(f"{lines} has no line.")
    return list(found)


def _ids_of(encoder: EncoderModel, source: str | bytes | list[int], place: int) -> list[int]:
    """Return the ids of a text that can be embedded; says on stderr which one cannot."""
    try:
        return encoder.ids_of(source)
    except ContractError:
        click.echo(f"text {place}: {_shown(source)[:SHOWN_TEXT]}", err=True)
        raise
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--ids") from error


def _shown(source: str | bytes | list[int]) -> str:
    if isinstance(source, list):
        return ",".join(map(str, source))
    return visible(source if isinstance(source, bytes) else source.encode("utf-8", "surrogateescape"))


def _document(source: str | bytes | list[int], embedding: Embedding) -> dict[str, Any]:
    text = source.decode() if isinstance(source, bytes) else source
    return {
        "text": None if isinstance(text, list) else text,
        "ids": list(embedding.ids),
        "embedding": embedding.values.tolist(),
    }


def _print(sources: list[str | bytes | list[int]], found: list[Embedding], pooling: str) -> None:
    width = found[0].values.shape[-1]
    table = plain_table("text", "tokens", f"first {min(width, SHOWN_NUMBERS)} of {width}", right=("tokens",))
    for source, embedding in zip(sources, found, strict=True):
        text = _shown(source)
        for place, row in enumerate(embedding.values.reshape(-1, width)):
            told = text if len(text) <= SHOWN_TEXT else text[: SHOWN_TEXT - 1] + "\u2026"
            label = told if pooling != "none" else f"{told} [{embedding.ids[place]}]"
            add_row(table, label, len(embedding.ids), "  ".join(f"{value:.6f}" for value in row[:SHOWN_NUMBERS]))
    console = Console()
    console.print(f"{len(found)} texts, pooling {pooling}:")
    console.print(table)
