"""What a chat template does wrong, as exit codes: 1 the template, 2 a model without one, 3 a missing package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from refruntime.chat.prompt import NoTemplate
from refruntime.chat.template import ChatTemplateError, MissingJinja


class MissingPackage(click.ClickException):
    """A package that the command needs is not installed."""

    exit_code = 3


@contextmanager
def template_failures(instead: str) -> Iterator[None]:
    """Turn failures of a template into errors of the command line; `instead` says what works without one."""
    try:
        yield
    except NoTemplate as error:
        raise click.UsageError(f"{error}; {instead}.") from error
    except MissingJinja as error:
        raise MissingPackage(str(error)) from error
    except ChatTemplateError as error:
        raise click.ClickException(str(error)) from error
