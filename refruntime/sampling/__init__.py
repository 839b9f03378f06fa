"""Integer generators and the sampler as a pure chain of stages."""
