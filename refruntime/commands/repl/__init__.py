"""The command repl."""
