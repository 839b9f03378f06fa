"""One short description per architecture, over shared blocks.

A new architecture is one file with one `Architecture` and its line below. Where a block is missing, it becomes a choice
of `base.Architecture`, a formula of `refruntime.numerics`, a step in `refruntime.model.blocks` or `forward`, and its
tensors a node of `refruntime.model.layout`. It is done when a random model, a second opinion and a negative control
exist (CONTRIBUTING says where), and rule GG-11, GG-14 or GG-15 names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from refruntime.model.architectures.base import Architecture
from refruntime.model.architectures.cohere2 import COHERE2
from refruntime.model.architectures.command_r import COMMAND_R
from refruntime.model.architectures.ernie4_5 import ERNIE4_5
from refruntime.model.architectures.exaone4 import EXAONE4
from refruntime.model.architectures.gemma import GEMMA
from refruntime.model.architectures.gemma2 import GEMMA2
from refruntime.model.architectures.gemma3 import GEMMA3
from refruntime.model.architectures.gemma4 import GEMMA4
from refruntime.model.architectures.gpt2 import GPT2
from refruntime.model.architectures.gpt_oss import GPT_OSS
from refruntime.model.architectures.gptneox import GPTNEOX
from refruntime.model.architectures.granite import GRANITE
from refruntime.model.architectures.granitehybrid import GRANITEHYBRID
from refruntime.model.architectures.hunyuan_dense import HUNYUAN_DENSE
from refruntime.model.architectures.lfm2 import LFM2
from refruntime.model.architectures.lfm2moe import LFM2MOE
from refruntime.model.architectures.llama import LLAMA
from refruntime.model.architectures.minicpm import MINICPM
from refruntime.model.architectures.mistral3 import MISTRAL3
from refruntime.model.architectures.nemotron import NEMOTRON
from refruntime.model.architectures.olmo import OLMO
from refruntime.model.architectures.olmo2 import OLMO2
from refruntime.model.architectures.olmoe import OLMOE
from refruntime.model.architectures.phi2 import PHI2
from refruntime.model.architectures.phi3 import PHI3
from refruntime.model.architectures.qwen2 import QWEN2
from refruntime.model.architectures.qwen3 import QWEN3, QWEN3MOE
from refruntime.model.architectures.qwen35 import QWEN35
from refruntime.model.architectures.qwen35moe import QWEN35MOE
from refruntime.model.architectures.smollm3 import SMOLLM3
from refruntime.model.architectures.stablelm import STABLELM
from refruntime.model.architectures.starcoder2 import STARCODER2

ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    architecture.name: architecture
    for architecture in (
        LLAMA,
        *(QWEN2, QWEN3, QWEN3MOE, QWEN35, QWEN35MOE),
        *(GEMMA, GEMMA2, GEMMA3, GEMMA4),
        *(PHI2, PHI3),
        SMOLLM3,
        *(GRANITE, GRANITEHYBRID),
        *(OLMO, OLMO2, OLMOE),
        STABLELM,
        STARCODER2,
        *(GPT2, GPTNEOX),
        *(COMMAND_R, COHERE2),
        NEMOTRON,
        *(LFM2, LFM2MOE),
        GPT_OSS,
        ERNIE4_5,
        EXAONE4,
        HUNYUAN_DENSE,
        MINICPM,
        MISTRAL3,
    )
}
"""Every supported architecture by its `general.architecture`."""

__all__ = ["ARCHITECTURES", "Architecture"]
