"""Integer generators and the sampler as a pure chain of stages."""

from __future__ import annotations

from refruntime.sampling.config import SamplingConfig
from refruntime.sampling.generator import Draw, draw, seeded
from refruntime.sampling.sampler import STAGES, Choice, Drawn, Stages, sample
from refruntime.sampling.stages import ranked

__all__ = ["STAGES", "Choice", "Draw", "Drawn", "SamplingConfig", "Stages", "draw", "ranked", "sample", "seeded"]
