"""What the commands share: options, progress bars, tables."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acecausal.plain_numbers import number_or_dash

if TYPE_CHECKING:
    import xarray as xr

force_option = click.option(
    "--force", is_flag=True, help="Replace the output if it exists; a cube or a folder only if acecausal wrote it."
)

#: Seeds that every library takes; more digits end in errors deep in one of them.
SEED = click.IntRange(0, 2**32 - 1)


def _encoding(_ctx: click.Context, _param: click.Parameter, name: str | None) -> str | None:
    try:
        return name if name in (None, "guess") else codecs.lookup(name).name
    except LookupError:
        raise click.BadParameter(f"{name!r} is no encoding: cp1252, cp1250, cp1251, utf-8, guess, say") from None


encoding_option = click.option(
    "--encoding",
    callback=_encoding,
    metavar="NAME",
    help="How texts are encoded in CSV files that are no UTF-8, .dta files up to Stata 13, .sav files that do not say "
    "it: cp1252, cp1251 and so on; guess: by the letters that come out.  [default: as the file says]",
)

hold_out_option = click.option(
    "--hold-out",
    multiple=True,
    metavar="DIM=LABELS",
    help="What is kept apart: country=USA, value=poverty,trust (near-duplicate questions follow), topic=..., "
    "granularity=4, attributes=gender+age (personas that specify both), or, for align, wording=interview (by template, "
    "order, marks, or some of them). Can be given several times.",
)

model_differs_option = click.option(
    "--model-differs",
    type=click.Choice(["refuse", "ok"]),
    default="refuse",
    show_default=True,
    help="What to do where an adapter, or a run to go on with, is of other weights, another tokenizer or chat template "
    "than the model; a cube or record that is written says so.",
)

template_arg_option = click.option(
    "--template-arg", "template_args", multiple=True, metavar="KEY=VALUE",
    help="What the chat template is told beyond enable_thinking=false and thinking=false; a chat server is sent it as "
    "chat_template_kwargs. Can be given several times.  [default: what an adapter was trained with, if one is asked]",
)  # fmt: skip

revision_option = click.option("--revision", metavar="NAME", help="Branch, tag or commit of a hub id.")


def output_option(what: str) -> Callable[[Any], Any]:
    """Make the option -o/--output of a command."""
    return click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help=what)


def first_process() -> bool:
    """Whether this is the only process, or the first that accelerate launched: the one that prints and writes."""
    return os.environ.get("RANK", "0") == "0"


def several_processes() -> bool:
    """Whether accelerate launched others beside this process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def names(_ctx: click.Context, _param: click.Parameter, text: str | None) -> list[str]:
    """Split a comma-separated list of names; a click callback."""
    if text is None:
        return []
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise click.BadParameter("expected names separated by commas")
    return found


def printable(text: str) -> str:
    """Write what a terminal would obey (escape sequences, turned writing) so that it is read; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """Print to stdout."""
    click.echo(printable(text))


def note(text: str) -> None:
    """Print a message for people to stderr."""
    click.echo(printable(text), err=True)


#: Most sentences of one kind.
MOST = 8


def listed(kind: str, sentences: Sequence[str], to: Callable[[str], None] = note) -> None:
    """Print sentences of a kind, the first ones, and how many there are more."""
    for text in sentences[:MOST]:
        to(f"{kind}: {text}")
    if len(sentences) > MOST:
        to(f"{kind}: {len(sentences) - MOST} more of this kind")


@contextmanager
def progress_bar(label: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Show a bar on stderr while the block runs; yields a function to call with (done, total) or without arguments."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=total)

        def step(done: int | None = None, of: int | None = None) -> None:
            if done is None:
                progress.advance(task)
            else:
                progress.update(task, completed=done, total=of)

        yield step


def unit_store(output: Path, *, resume: bool, force: bool) -> Path:
    """Name the folder of finished units; one that an earlier run left is gone on with, removed, or an error.

    Of several processes the first sees to it.
    """
    from acecausal.cube.finished import check_store, remove_store
    from acecausal.errors import AceError

    store = output.with_name(f"{output.name}.units")
    if not first_process():
        return store
    check_store(store)
    if store.exists() and not resume:
        if not force:
            raise AceError(
                "an earlier run was cut off", param=str(store), hint="--resume goes on with it, --force begins anew"
            )
        remove_store(store)
    return store


@contextmanager
def kept_units(store: Path, *, resume: bool) -> Iterator[None]:
    """Let finished units stay where the block is cut off, and go where it ends in an error."""
    from acecausal.cube.finished import RESUME, CutOffError, remove_store
    from acecausal.errors import AceError

    try:
        yield
    except CutOffError:
        raise
    except AceError:
        if not resume:  # an error is no cut-off: there is nothing to go on with
            remove_store(store)
        raise
    except KeyboardInterrupt as stop:
        if store.exists():
            stop.add_note(RESUME)
        raise


def quiet_libraries() -> None:
    """Keep transformers' and PEFT's own bars and remarks out of our output, and tokenizers from warning of forks."""
    import warnings

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # the GGUF reader's bar knows no other switch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)


def opened(path: Path) -> xr.Dataset:
    """Open a cube, and say so if another program put it together from several."""
    from acecausal.cube.doubts import put_together
    from acecausal.cube.files import open_cube

    cube = open_cube(path)
    for text in put_together(cube):
        note(f"{path}: {text}")
    return cube


def asked_of(path: Path) -> xr.Dataset:
    """Open a cube of which a model is asked: what has no options is left out, and said."""
    from acecausal.cube.files import with_options

    cube, left = with_options(opened(path))
    if left and first_process():
        note(f"{path}: not asked of a model, since answers are numbers: {', '.join(left)}")
    return cube


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table to stdout; the first column is text, the others are numbers."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(printable(title)), box=box.SIMPLE_HEAD, title_justify="left")
    for position, column in enumerate(columns):
        table.add_column(Text(printable(column)), justify="left" if position == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)


def print_comparison(title: str, result: Mapping[str, Any]) -> None:
    """Print a comparison as tables: levels and effects, all cells first, then its groups; and what the model heeds."""
    from acecausal.comparison.compare import beyond

    groups = [{"by": "all cells", "key": "", **result}, *result["groups"]]
    for part, columns in (
        ("level", ["score", "distance", "null", "ceiling", "skill", "cells"]),
        ("effect", ["distance", "null", "ceiling", "skill", "slope", "cells"]),
    ):
        rows = [
            [f"{group['by']} {group['key']}".strip(), *(_shown(name, group[part][name]) for name in columns)]
            for group in groups
            if group["by"] != "heed" or part == "effect"
        ]
        print_table(f"{title}: {part}s", ["", *columns], rows)
    if result["checks"]:
        parts = ("heed", "drift_error", "edited", "stated", "implied")
        rows = [[check["attribute"], *(_shown(name, check[name]) for name in parts)] for check in result["checks"]]
        print_table(
            f"{title}: is the persona heeded? (1 yes, 0 no)", ["", *(name.replace("_", " ") for name in parts)], rows
        )
    for line in beyond(result):
        note(f"warning: {line}")


def _shown(name: str, number: float | None) -> str:
    """Write a number for a table; a dash where the data cannot tell."""
    digits = {"cells": 0, "score": 1}.get(name, 3)
    return number_or_dash(number, digits)


def note_guesses(paths: Iterable[str | Path], encoding: str | None) -> None:
    """Say, to stderr, which encodings were guessed."""
    from acecausal.survey.readers import resolved

    for path in paths if encoding == "guess" else ():
        found = resolved(path, encoding)
        if found:
            note(f"{path}: read as {found}, a guess")
