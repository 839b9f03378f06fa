"""The command golden."""
