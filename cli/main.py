"""The command group and how errors become messages and exit codes."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import FrameType
from typing import Any

import click

from cli.align import align
from cli.codebooks import codebooks
from cli.compare import compare
from cli.console import note
from cli.demo import demo
from cli.design import design
from cli.elicit import elicit
from cli.estimate import estimate
from cli.exchange import export, import_
from cli.pool import pool
from cli.report import report
from cli.sharpen import sharpen
from cli.show import show
from cli.specify import specify
from cli.transfer import transfer


class Terminated(KeyboardInterrupt):
    """SIGTERM: it ends a run as Ctrl-C does, so that nothing half-written and no process is left."""


class Group(click.Group):
    """A group that turns errors and signals into one message on stderr, without a traceback, and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 gets ? for what it cannot show
        with _signals():
            try:
                return super().main(*args, **kwargs)
            except OSError as error:  # a full disk, a folder that may not be written to
                if error.errno is None:
                    raise
                _say(f"Error: {error.filename or 'output'}: {error.strerror}", error)
                _discard_stdout()
                sys.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order of work, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        from acecausal.errors import AceError

        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()  # a full disk shows here, not after the last word
        except AceError as error:
            _say(f"Error: {error}", error)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt as stop:
            terminated = isinstance(stop, Terminated)
            after = "".join(f": {text}" for text in getattr(stop, "__notes__", []))
            note(f"Stopped by {'SIGTERM' if terminated else 'SIGINT'}{after}")
            ctx.exit(143 if terminated else 130)
        return result


def _say(text: str, error: Exception) -> None:
    """Print an error, and what was noted about it on its way up."""
    note("\n".join([text, *(f"  hint: {more}" for more in getattr(error, "__notes__", []))]))


def _discard_stdout() -> None:
    """Send what is still in stdout's buffer nowhere, where it cannot be written: Python would try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _signals() -> Iterator[None]:
    """Raise on SIGINT and SIGTERM while the block runs, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last = -1.0

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        if time.monotonic() - last < 1:  # timeout and batch systems signal the process and its group: once is meant
            return
        last = time.monotonic()
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    caught = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = [signal.signal(number, stop) for number in caught]
    try:
        yield
    finally:
        for number, handler in zip(caught, before, strict=True):
            signal.signal(number, handler)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("acecausal"), prog_name="acecausal")
def main() -> None:
    """Find out what each attribute of a persona does to survey answers, in people and in language models.

    \b
    survey -> estimate -> cube of effects (people)
    model  -> elicit   -> cube of effects (model)
    both   -> compare, report; and align trains the model until its effects match.
    files of other programs -> import, export.

    The Tab key completes commands and options after (zsh: zsh_source, fish: fish_source):

    \b
    eval "$(_ACECAUSAL_COMPLETE=bash_source acecausal)"

    Exit codes: 0 done, 1 error, 2 wrong usage, 3 partial result, 130 stopped by Ctrl-C, 143 by SIGTERM.
    """


_ROAD = (codebooks, design, estimate, show, pool, specify, elicit, compare, sharpen, align, transfer, report)
for _command in (*_ROAD, import_, export, demo):
    main.add_command(_command)
