"""Malformed files from recipes: each names the status that the contract demands and the rule that does."""
