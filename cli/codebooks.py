"""acecausal codebooks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.console import encoding_option, force_option, note, note_guesses, print_table, say

if TYPE_CHECKING:
    from acecausal.survey.codebook import Codebook


@click.group()
def codebooks() -> None:
    """Say what the columns of a survey file mean: list, show, check or draft codebooks."""


@codebooks.command("list")
def list_() -> None:
    """List the codebooks that come with the program."""
    from acecausal.survey.codebook import load_codebook, shipped_codebooks

    rows = []
    for name in shipped_codebooks():
        book = load_codebook(name)
        parts = book.unverified_parts(book.attributes, book.values)
        doubtful = "all" if book.unverified else str(len(parts) or "-")
        rows.append([name, book.title, str(len(book.attributes)), str(len(book.values)), doubtful])
    print_table("codebooks", ["name", "survey", "attributes", "values", "unverified"], rows)


@codebooks.command()
@click.argument("codebook")
@click.option("--json", "as_json", is_flag=True, help="The whole codebook as JSON.")
def show(codebook: str, as_json: bool) -> None:
    """Show a codebook, by name or from a YAML file: columns, levels, questions, options."""
    from acecausal.cube.check_questions import check_values
    from acecausal.cube.lattice import Lattice
    from acecausal.survey.codebook import load_codebook
    from acecausal.survey.codes import code_key

    book = load_codebook(codebook)
    if as_json:
        click.echo(book.model_dump_json(indent=1))
        return
    say(f"{book.title}\nsource: {book.source}\nlicence: {book.licence}")
    only = ", ".join(spec.label for spec in book.countries.only.values())
    say(f"country: {book.countries.column} ({len(book.countries.levels)} known)" if not only else f"country: {only}")
    for kind in ("weight", "stratum", "psu", "fpc", "id", "rater", "item"):
        part = getattr(book, kind)
        if part:
            say(f"{kind}: {', '.join(part.columns)}{f' ({part.note})' if part.note else ''}")
    if book.replicates:
        say(f"replicates: {', '.join(book.replicates.named)} ({book.replicates.type})")
    say(f"lattice: {', '.join(book.lattice or book.attributes)}")
    flag = {True: "  (unverified)", False: ""}
    for name, attribute in book.attributes.items():
        say(f"\n{name}  [{attribute.column}] {attribute.label}{flag[attribute.unverified or book.unverified]}")
        for level, spec in attribute.levels.items():
            say(f"    {level}{' (baseline)' if level == attribute.baseline else ''}: {spec.label}  [{spec}]")
        asked = check_values(Lattice.over([book.attribute(name)]))[0]
        say(f"    asked{'' if attribute.ask else ' (drafted)'}: {asked.question} {' / '.join(asked.options)}")
    for name, value in book.values.items():
        say(f"\n{name}  [{value.column}] {value.scale}, {value.topic}{flag[value.unverified or book.unverified]}")
        say(f"    {value.question}")
        if value.range is not None:
            say(f"    {' to '.join(value.ends)}")
        for position, option in enumerate(value.options, 1):
            say(f"    {position}. {option.label}  [{','.join(map(code_key, option.codes))}]")


@codebooks.command()
@click.argument("data", nargs=-1, required=True)
@click.option("--codebook", required=True, help="Name of a shipped codebook, or a YAML file.")
@encoding_option
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
@click.pass_context
def check(ctx: click.Context, data: tuple[str, ...], codebook: str, encoding: str | None, as_json: bool) -> None:
    """Check files against a codebook: which columns, codes and labels differ, and what to do.

    Only the columns that the codebook names are read. Exit code 1 if `estimate` would stop or give wrong numbers.

    Example: acecausal codebooks check WVS_Cross-National_Wave_7_spss_v6_0.sav --codebook wvs7
    """
    from dataclasses import asdict

    from acecausal.survey.checking import check as check_files
    from acecausal.survey.codebook import load_codebook

    book = load_codebook(codebook)
    note_guesses(data, encoding)
    findings = check_files(list(data), book, encoding=encoding)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for found in findings:
            where = " ".join(filter(None, (f"column {found.column}" if found.column else "", f"({found.about})")))
            say(f"{found.severity}: {where}: {found.what}")
            for key in ("expected", "got", "hint"):
                if getattr(found, key):
                    say(f"  {key}: {getattr(found, key)}")
    errors = sum(found.severity == "error" for found in findings)
    warnings = sum(found.severity == "warning" for found in findings)
    asked = next((name for name, value in book.values.items() if value.options), None)
    if not as_json and not errors and asked:
        say(f"\nOne prompt, as a model would get it:\n\n{_prompt(book, asked, data[0], encoding)}\n")
    note(f"{errors} errors, {warnings} warnings: {', '.join(data)} against codebook {book.name}")
    if errors:
        ctx.exit(1)
    out = f"{shlex.quote(Path(data[0]).with_suffix('.zarr').name)}"
    note(f"next:\n  {_command('estimate', data, codebook, encoding)} -o {out}")


def _command(name: str, data: Sequence[str], codebook: str | Path, encoding: str | None) -> str:
    """Write a command that works when it is pasted."""
    files = " ".join(map(shlex.quote, data))
    told = f" --encoding {encoding}" if encoding else ""
    return f"acecausal {name} {files} --codebook {shlex.quote(str(codebook))}{told}"


def _prompt(book: Codebook, value: str, path: str, encoding: str | None) -> str:
    """Word a question to the persona that says most, of a country that the file has."""
    import numpy as np

    from acecausal.cube.files import Country
    from acecausal.cube.lattice import Lattice
    from acecausal.survey.codes import code_key
    from acecausal.survey.readers import read_table
    from align.prompting.prompts import compose, describe
    from align.prompting.wordings import Wording

    lattice = Lattice.over([book.attribute(name) for name in book.lattice or list(book.attributes)[:3]])
    levels = book.countries.levels
    cells = [read_table(path, [column], encoding=encoding)[column] for column in book.countries.columns]
    codes = {key for column in cells for key in column.cat.categories}
    there = [name for name, spec in levels.items() if not cells or codes & set(map(code_key, spec.codes))]
    name, spec = there[0], levels[there[0]]
    persona = describe(lattice, np.array([len(a.levels) - 1 for a in lattice.attributes]))
    text = compose(Country(name, spec.label, spec.region), book.value(value), persona, Wording())
    return f"{text.plain} ..."


@codebooks.command()
@click.argument("data")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The codebook to write: .yaml.  [default: stdout]"
)
@encoding_option
@force_option
def new(data: str, output: Path | None, encoding: str | None, force: bool) -> None:
    """Draft a codebook from a file's names, labels and codes, with a comment at every guess.

    Example: acecausal codebooks new survey.sav -o survey.yaml
    """
    from acecausal.cube.outputs import check_output, whole
    from acecausal.survey.drafting import draft

    if output is not None:
        check_output(output, suffixes=(".yaml", ".yml"), force=force)
    note_guesses([data], encoding)
    text = draft(data, encoding=encoding)
    if output is None:
        click.echo(text, nl=False)
        return
    with whole(output) as beside:
        beside.write_text(text, encoding="utf-8")
    todo = text.count("# fill in") + text.count("label: fill in")
    note(
        f"{output}: a draft. {todo} places say 'fill in', {text.count('# guess')} 'guess': look at both, then\n"
        f"  {_command('codebooks check', [data], output, encoding)}"
    )
