"""Groups of commands: lists that cut no sentence, suggestions for what was mistyped."""

from __future__ import annotations

from difflib import get_close_matches

import click

NO_LIMIT = 10_000


class ListedGroup(click.Group):
    """A group that lists each command with its whole first sentence, and knows what is meant perhaps."""

    def sentences(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Return each command with its first sentence."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return [(name, command.get_short_help_str(NO_LIMIT)) for name, command in found if command is not None]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(self.sentences(ctx))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name; a mistyped one gets a suggestion."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if near := get_close_matches(args[0], self.list_commands(ctx), 1, 0.5):
                raise click.UsageError(f"{error.message} Did you mean '{near[0]}'?", ctx) from error
            raise
