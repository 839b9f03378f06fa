"""Stepping, history, why and what-if, as data."""
