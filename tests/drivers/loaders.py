"""Fuzz what reads foreign bytes, guided by coverage (atheris): loaders, tokenizer sections, the reader of modules.

    python tests/drivers/loaders.py gguf --minutes 30
    python tests/drivers/loaders.py slm1 | tokenizers | modules

What a reader may do with any bytes is return or raise a failure of the contract, in at most SECONDS of processor time
and 2 GB of memory. Everything else is a finding: the input goes to FOLDER/findings, one for each kind, and the run goes
on. A finding becomes a recipe of `refruntime/battery/malformed/`. The corpus that a run made is kept in FOLDER/corpus;
the next one goes on from it.
"""

from __future__ import annotations

import argparse
import hashlib
import pkgutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import atheris  # noqa: E402

ROOMS = ("containers", "tokenizers", "model", "instrument")
"""What reads foreign bytes. Loaders import most of it when they need it, when nothing is instrumented any more."""

with atheris.instrument_imports(include=["refruntime"]):
    for room in ROOMS:
        for found in pkgutil.walk_packages([str(ROOT / "refruntime" / room)], f"refruntime.{room}."):
            if not found.name.endswith("_compiled"):
                import_module(found.name)
    from refruntime.containers.checksum import CHECKSUM_FIELD, slm1_checksum
    from refruntime.contract.profile import Profile
    from refruntime.engines.base import InvalidModule
    from refruntime.engines.interface import read_surface
    from refruntime.errors import ContractError
    from refruntime.instrument.module import Module
    from refruntime.instrument.reader import MalformedModule
    from refruntime.instrument.watch import WATCHED, watch_comparisons
    from refruntime.model.load import read_tokenizer
    from refruntime.runtime import Runtime
    from refruntime.tokenizers.bpe1 import Bpe1Tokenizer
    from refruntime.tokenizers.btok import BtokTokenizer

from refruntime.battery.malformed.catalogue import malformed_files  # noqa: E402
from refruntime.battery.malformed.gguf import SHAPE  # noqa: E402
from refruntime.battery.models.gguf import array, llama_model, value  # noqa: E402
from refruntime.battery.models.slm1 import Shape, random_model  # noqa: E402
from refruntime.battery.text import merge_section  # noqa: E402
from refruntime.containers.gguf import read_gguf  # noqa: E402
from refruntime.numerics import Seq32  # noqa: E402
from refruntime.tokenizers.pre_tokenizers import PRE_TOKENIZERS  # noqa: E402
from tests.second_opinion import random_encoders, random_zoo  # noqa: E402
from tests.support.generated_modules import generate  # noqa: E402

SECONDS = 2.0
MOST_BYTES = 40_000
ZEROS = b"+ zeros"
"""A GGUF file that ends so goes on with 1 MiB of zeros instead: the directory of a model without its payload."""
PROFILE = Profile()
NUMERICS = Seq32()
TEXT = "hello the abba é€😀 ".encode()


def load(data: bytes) -> None:
    """Load an artifact as the exports do."""
    Runtime(PROFILE, NUMERICS).load_model(data)


def load_gguf(data: bytes) -> None:
    """Load a GGUF file, its payload made of zeros where it says so."""
    load(with_payload(data))


def with_payload(data: bytes) -> bytes:
    """Return the file that the bytes stand for."""
    return data.removesuffix(ZEROS) + bytes(1 << 20) if data.endswith(ZEROS) else data


def load_sealed(data: bytes) -> None:
    """Load an SLM1 file whose checksum is right."""
    if len(data) >= 108:
        first, last = CHECKSUM_FIELD
        data = data[:first] + slm1_checksum(data, PROFILE).to_bytes(last - first, "little") + data[last:]
    load(data)


def tokenize(data: bytes) -> None:
    """Read a tokenizer: a section of SLM1 behind two bytes of vocabulary size, or the metadata of a GGUF file."""
    if data[:4] == b"GGUF":
        tokenizer = read_tokenizer(with_payload(data), PROFILE)
        size = 64
    else:
        size = int.from_bytes(data[:2], "little")
        section = memoryview(data)[2:]
        kind = BtokTokenizer if bytes(section[:4]) == b"BTOK" else Bpe1Tokenizer
        tokenizer = kind.parse(section, size)
    tokenizer.decode(range(min(size, 64)))
    tokenizer.encode(TEXT)


def read_module(data: bytes) -> None:
    """Read a module, and rewrite it."""
    read_surface(data)
    module = Module(data)
    module.rewrite(frozenset(WATCHED), lambda site: site.bytes)
    module.encode()
    watch_comparisons(data)


def gguf_seeds() -> Iterator[bytes]:
    """Yield a well-formed file, the directory of every architecture and every malformed file."""
    yield llama_model(500, SHAPE).data
    for name in random_zoo.NAMES:
        yield without_payload(random_zoo.make(name, 1))
    for make in random_encoders.ENCODERS.values():
        yield without_payload(make(1).file())
    yield from (file.data for file in malformed_files(PROFILE) if file.data[:4] == b"GGUF")


def without_payload(data: bytes) -> bytes:
    """Return the directory of a GGUF file, with the mark that stands for its payload."""
    return data[: read_gguf(data).data_offset] + ZEROS


def byte_pair_directory(name: str, kind: bytes = b"gpt2") -> bytes:
    """Return the directory of a llama whose tokenizer merges as the pre-tokenizer `name` says."""
    letters = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x144)]  # as GPT-2 writes bytes
    tokens = [chr(letter).encode() for letter in letters] + [b"<0x%02X>" % byte for byte in range(256)]
    tokens += [b"he", b"ll", b"hell", b"hello", b"ab", b"<|im_end|>"]
    types = [1] * len(letters) + [6] * 256 + [1] * 5 + [3]  # normal, byte, normal, control
    parts = llama_model(500, SHAPE).with_keys(
        tokenizer__ggml__model=value(8, kind),
        tokenizer__ggml__pre=value(8, name.encode()),
        tokenizer__ggml__tokens=array(8, tokens),
        tokenizer__ggml__token_type=array(5, types),
        tokenizer__ggml__scores=None,
        tokenizer__ggml__merges=array(8, [b"h e", b"l l", b"he ll", b"hell o", b"a b"]),
        tokenizer__ggml__bos_token_id=value(4, 3),
        tokenizer__ggml__eos_token_id=value(4, len(tokens) - 1),
    )
    return parts.directory + ZEROS


def slm1_seeds() -> Iterator[bytes]:
    """Yield well-formed files and every malformed one."""
    small = Shape(hidden=4, layers=1, heads=1, ffn=4, capacity=8)
    yield random_model(1, small, profile=PROFILE)
    yield random_model(1, Shape(272, 4, 1, 1, 4, 8), tokenizer=merge_section(), profile=PROFILE)
    yield from (file.data for file in malformed_files(PROFILE) if file.data[:4] == b"SLM1")


def tokenizer_seeds() -> Iterator[bytes]:
    """Yield sections and GGUF files whose tokenizer is looked at."""
    yield (272).to_bytes(2, "little") + merge_section()
    yield (260).to_bytes(2, "little") + BtokTokenizer(260).section_bytes()
    first = {id(each): name for name, each in PRE_TOKENIZERS.items()}
    yield from (byte_pair_directory(name) for name in first.values())
    yield byte_pair_directory("gemma4", b"gemma4")
    yield without_payload(random_encoders.bert(1).file())
    for file in malformed_files(PROFILE):
        if file.name.startswith("gguf/tokenizer"):
            yield file.data
        elif file.data[:4] == b"SLM1" and b"BPE1" in file.data:
            yield (272).to_bytes(2, "little") + file.data[file.data.index(b"BPE1") :][:4000]


def module_seeds() -> Iterator[bytes]:
    """Yield generated modules of every family of instructions."""
    yield from (generate(seed).data for seed in range(200))


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], Iterator[bytes]], tuple[type[Exception], ...]]] = {
    "gguf": (load_gguf, gguf_seeds, (ContractError,)),
    "slm1": (load_sealed, slm1_seeds, (ContractError,)),
    "tokenizers": (tokenize, tokenizer_seeds, (ContractError,)),
    "modules": (read_module, module_seeds, (InvalidModule, MalformedModule)),
}
"""Name -> what is fuzzed, where it begins, and what it may raise."""


def check_guidance(target: Callable[[bytes], None], data: bytes) -> None:
    """Exit if reading well-formed bytes imports a module that coverage does not see."""
    before = set(sys.modules)
    target(data)
    rooms = tuple(f"refruntime.{room}." for room in ROOMS)
    late = sorted(name for name in set(sys.modules) - before if name.startswith(rooms))
    if late:
        sys.exit(f"not instrumented, so nothing would guide: {', '.join(late)}")


class Watch:
    """Run a target and write down, once for each kind, what it may not do."""

    def __init__(self, target: Callable[[bytes], None], fine: tuple[type[Exception], ...], folder: Path) -> None:
        self.target, self.fine, self.folder = target, fine, folder
        self.known: set[str] = set()
        self.began = time.monotonic()

    def __call__(self, data: bytes) -> None:
        began = time.process_time()
        try:
            self.target(data)
        except self.fine:
            pass
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.note(f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error}", data)
        if time.process_time() - began > SECONDS:
            self.note(f"more than {SECONDS} s", data)

    def note(self, text: str, data: bytes) -> None:
        kind = text.partition(": ")[0]
        if kind in self.known:
            return
        self.known.add(kind)
        path = self.folder / hashlib.sha256(data).hexdigest()[:16]
        path.write_bytes(data)
        print(f"FINDING after {time.monotonic() - self.began:.0f} s: {text}   ({len(data)} bytes, {path})", flush=True)


def main() -> None:
    """Fuzz one target; the process ends in libFuzzer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "fuzz-loaders")
    arguments = parser.parse_args()
    target, seeds, fine = TARGETS[arguments.target]
    folder = arguments.folder / arguments.target
    for name in ("corpus", "seeds", "findings"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    check_guidance(target, next(iter(seeds())))
    for data in seeds():
        if len(data) <= MOST_BYTES:
            (folder / "seeds" / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    options = [f"-max_total_time={int(60 * arguments.minutes)}", f"-max_len={MOST_BYTES}", "-timeout=20"]
    options += ["-rss_limit_mb=2048", "-seed=1", "-print_final_stats=1", f"-artifact_prefix={folder}/findings/"]
    atheris.Setup(
        [sys.argv[0], *options, str(folder / "corpus"), str(folder / "seeds")], Watch(target, fine, folder / "findings")
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
