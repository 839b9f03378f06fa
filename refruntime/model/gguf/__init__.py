"""GGUF: a file of any architecture to a validated model."""
