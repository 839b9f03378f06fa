"""SLM1: a file to a validated model, and back."""
