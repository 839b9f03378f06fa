"""Prompts that a chat template makes."""
