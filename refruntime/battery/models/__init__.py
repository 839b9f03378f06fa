"""Makers of the small models that cases load: SLM1 and GGUF bytes."""
