"""Hyper-parameters, weight binding, KV cache and forward pass."""
