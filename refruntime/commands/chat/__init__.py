"""Chats on the command line: the command `chat`, and how what a template does wrong is told."""
