"""Frozen answers: the format of a golden case, fill, verify, pack, and the suite that consumes them."""
