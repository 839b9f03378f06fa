"""Integer generators and the sampler as a pure chain of stages."""

from __future__ import annotations

from refruntime.sampling.config import SamplingConfig
from refruntime.sampling.generator import Draw, draw, seeded
from refruntime.sampling.sampler import STAGES, Choice, Stages, sample

__all__ = ["STAGES", "Choice", "Draw", "SamplingConfig", "Stages", "draw", "sample", "seeded"]
