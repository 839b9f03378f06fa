"""Turn block bytes into float32, one table of types."""
