"""Write the trained weights as SLM1 and GGUF files, with an index of sums and provenance.

    python tools/train/write_models.py WEIGHTS_FOLDER [--to golden/models]

WEIGHTS_FOLDER holds what `train.py` exported: A.npz (untied), T.npz (tied) and B.npz (tied, byte pairs), each with a
JSON file of the same name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from refruntime.containers.slm1_format import FLAG_TIED_OUTPUT, DType, Slm1Parameters
from refruntime.containers.slm1_writer import write_slm1
from refruntime.contract.profile import Profile
from refruntime.convert.converter import convert_artifact
from refruntime.model.slm1.encode import encode_tensor
from refruntime.tokenizers.bpe1 import Bpe1Tokenizer
from refruntime.tokenizers.bpe1_section import Merge, TokenRecord
from refruntime.tokenizers.btok import BtokTokenizer

SLM1_FILES = (
    ("stories.f32.slm1", "A", DType.F32),
    ("stories.q8_0.slm1", "A", DType.Q8_0),
    ("stories.q4_0.slm1", "A", DType.Q4_0),
    ("stories-tied.q8_0.slm1", "T", DType.Q8_0),
    ("stories-bpe.q8_0.slm1", "B", DType.Q8_0),
)
GGUF_FILES = (("stories.f32.gguf", "f32"), ("stories.q8_0.gguf", "q8_0"), ("stories.q4_0.gguf", "q4_0"))


def slm1_bytes(weights: dict[str, np.ndarray], facts: dict[str, Any], dtype: DType) -> bytes:
    """Return one SLM1 file."""
    numbers = dict(facts["hyper_parameters"])
    tied = numbers.pop("tied_output")
    numbers["rms_norm_epsilon"] = float(np.float32(numbers["rms_norm_epsilon"]))
    parameters = Slm1Parameters(flags=FLAG_TIED_OUTPUT if tied else 0, **numbers)
    tensors = [encode_tensor(name, values, dtype) for name, values in weights.items()]
    return write_slm1(parameters, tokenizer_section(facts), tensors, Profile())


def tokenizer_section(facts: dict[str, Any]) -> bytes:
    """Return the BTOK section, or the BPE1 section when the model has byte pairs."""
    vocab_size = facts["hyper_parameters"]["vocab_size"]
    pairs = facts.get("tokenizer") or {}
    if not pairs.get("merges"):
        return BtokTokenizer(vocab_size).section_bytes()
    records = [TokenRecord(token["id"], bytes.fromhex(token["bytes"])) for token in pairs["tokens"]]
    return Bpe1Tokenizer.build(vocab_size, records, [Merge(*merge) for merge in pairs["merges"]]).section_bytes()


def main() -> None:
    """Write all files and INDEX.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--to", type=Path, default=Path("golden/models"))
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    facts = {key: json.loads((arguments.weights / f"{key}.json").read_text()) for key in "ATB"}
    for name, key, dtype in SLM1_FILES:
        with np.load(arguments.weights / f"{key}.npz") as stored:
            weights = {name: stored[name] for name in stored.files}
        (arguments.to / name).write_bytes(slm1_bytes(weights, facts[key], dtype))
    source = (arguments.to / "stories.f32.slm1").read_bytes()
    for name, stored_type in GGUF_FILES:
        convert_artifact(source, arguments.to / name, "gguf", stored_type, Profile())
    names = [(name, key) for name, key, _ in SLM1_FILES] + [(name, "A") for name, _ in GGUF_FILES]
    index = {
        "licence": "Apache-2.0, as the project; weights and training text were made by it",
        "recipe": "tools/train/README.md",
        "models": {name: entry(arguments.to / name, facts[key]) for name, key in names},
    }
    (arguments.to / "INDEX.json").write_text(json.dumps(index, indent=1) + "\n")
    total = sum((arguments.to / name).stat().st_size for name, _ in names)
    print(f"wrote {len(names)} models, {total:,} bytes, to {arguments.to}")


def entry(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Return size, sum and provenance of one file."""
    data = path.read_bytes()
    return {
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "training": facts["model"],
        "parameters": facts["parameter_count"],
        "corpus_sha256": facts["corpus_sha256"],
        "recipe": facts["recipe"],
        "software": facts["software"],
        "validation_loss_nats_per_token": facts["validation_loss_nats_per_token"][-1],
    }


if __name__ == "__main__":
    main()
