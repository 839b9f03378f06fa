"""The sampler chains of other runtimes."""
