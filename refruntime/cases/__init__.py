"""The step language, and cases written in it."""
