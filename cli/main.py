"""The command group and how errors become messages and exit codes."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import click

from cli.align import align
from cli.codebooks import codebooks
from cli.compare import compare
from cli.demo import demo
from cli.elicit import elicit
from cli.estimate import estimate
from cli.exchange import export, import_
from cli.pool import pool
from cli.report import report
from cli.show import show


class Group(click.Group):
    """A group that turns the library's errors into one message on stderr, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        from acecausal.errors import AceError

        try:
            return super().invoke(ctx)
        except AceError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:  # a full disk, a folder that may not be written to
            if error.filename is None:
                raise
            click.echo(f"Error: {error.filename}: {error.strerror}", err=True)
            ctx.exit(1)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("acecausal"), prog_name="acecausal")
def main() -> None:
    """Find out what each attribute of a persona does to survey answers, in people and in language models.

    \b
    survey -> estimate -> cube of effects (people)
    model  -> elicit   -> cube of effects (model)
    both   -> compare, report; and align trains the model until its effects match.
    files of other programs -> import, export.

    Exit codes: 0 done, 1 error, 2 wrong usage, 3 partial result.
    """


for _command in (codebooks, estimate, show, pool, elicit, compare, align, report, import_, export, demo):
    main.add_command(_command)
