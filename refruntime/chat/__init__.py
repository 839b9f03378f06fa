"""Prompts that the chat template of a model makes of what was said."""
