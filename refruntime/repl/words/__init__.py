"""The words of the REPL."""
