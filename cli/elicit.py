"""acecausal elicit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acecausal.plain_numbers import number_or_dash
from cli.console import (
    SEED,
    asked_of,
    encoding_option,
    first_process,
    force_option,
    kept_units,
    model_differs_option,
    note,
    note_guesses,
    print_table,
    progress_bar,
    quiet_libraries,
    revision_option,
    several_processes,
    template_arg_option,
    unit_store,
)

if TYPE_CHECKING:
    import xarray as xr

    from align.elicitation.backends import Backend
    from align.elicitation.profiles import Profiles
    from align.prompting.templates import Text
    from align.prompting.wordings import Wording

#: As `align.prompting.templates` has them, which is not imported for --help.
TEMPLATES = ("persona-last", "interview", "questionnaire", "first-person", "ace-align")


@click.command()
@click.option(
    "--model", "source", required=True, metavar="PATH|HUB_ID|NAME",
    help="A model folder, hub id, or .gguf file; with --endpoint the server's name for the model.",
)  # fmt: skip
@revision_option
@click.option("--adapter", type=click.Path(path_type=Path), help="A PEFT adapter folder to put on the model.")
@model_differs_option
@click.option(
    "--endpoint", metavar="URL",
    help="Ask an OpenAI-compatible server instead: http://host/v1 (completions), or a URL that ends in "
    "/chat/completions. The key is taken from OPENAI_API_KEY. Answers are kept beside the output until it is written, "
    "so that a run that was cut off asks nothing twice.",
)  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Most requests per second to the server.")
@click.option("--like", required=True, type=click.Path(path_type=Path), help="Cube that says what is asked of whom.")
@click.option(
    "--template", "templates", multiple=True, type=click.Choice(TEMPLATES),
    help="ace-align: after that protocol, persona first; several are averaged, and their spread becomes the standard "
    "error.  "
    "[default: what the adapter was trained with, else persona-last]",
)  # fmt: skip
@click.option(
    "--order", "orders", multiple=True, metavar="NAME",
    help="Order of the options: forward, reversed, permuted-N (of seed N), or unlisted (no list of them: own words "
    "only); they are averaged likewise.  [default: forward and reversed]",
)  # fmt: skip
@click.option(
    "--marks", multiple=True, type=click.Choice(["labels", "digits", "letters"]),
    help="What an option is answered by: labels (its own words), digits (up to 9 options, then letters), or letters; "
    "several are averaged likewise.  [default: what the adapter was trained with, else labels; digits for a server]",
)  # fmt: skip
@template_arg_option
@click.option(
    "--precision", type=click.Choice(["float32", "bfloat16"]),
    help="Of the model's weights and activations; bfloat16 takes half the memory, and rounds effects (SmolLM2-135M: "
    "by a third of a typical one and more).  [default: float32; of an adapter's base as it was trained]",
)  # fmt: skip
@click.option(
    "--no-checks", is_flag=True,
    help="Leave out the check questions, which ask the model for each attribute that it was told, or was not.",
)  # fmt: skip
@click.option(
    "--profiles", "number", type=click.IntRange(10), metavar="N",
    help="Ask as N real people per question and country besides, drawn from --survey by weight, each with the treated "
    "attribute at every level: what no persona states (covariates that have a phrase, attributes outside the lattice) "
    "is held fixed in the model too. They stay in memory; --endpoint sends them to the server.",
)  # fmt: skip
@click.option(
    "--survey", "surveys", multiple=True, metavar="DATA",
    help="File that the cube was estimated from; can be given several times.",
)  # fmt: skip
@click.option("--codebook", metavar="NAME|FILE", help="That the file was read by; phrases may have been added to it.")
@encoding_option
@click.option("--seed", default=0, show_default=True, type=SEED, help="For the draw of profiles.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The cube to write: .zarr or .nc.")
@click.option(
    "--try", "trying", is_flag=True,
    help="Try ways of asking on a small part, print in which the persona is heeded and the order of the options means "
    "nothing, and stop.  [default: all templates and marks]",
)  # fmt: skip
@click.option(
    "--dry-run", is_flag=True,
    help="Print what would be asked (questions, prompts, tokens, those that are computed) and how long it would take "
    "(as a few prompts do; a server as --rate allows), without profiles, and stop.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on where a run with the same model and choices was cut off.")
@click.option("--show-prompt", is_flag=True, help="Print one prompt exactly as the model gets it, and stop.")
@click.option("--value", metavar="NAME", help="With --show-prompt: which question.  [default: the first]")
@click.option(
    "--persona", metavar="A=B,C=D",
    help="With --show-prompt: who the model is told to be, gender=female,age=old or all.  [default: the fullest]",
)  # fmt: skip
@force_option
def elicit(
    source: str,
    revision: str | None,
    adapter: Path | None,
    model_differs: str,
    endpoint: str | None,
    rate: float | None,
    like: Path,
    templates: tuple[str, ...],
    orders: tuple[str, ...],
    marks: tuple[str, ...],
    template_args: tuple[str, ...],
    precision: str | None,
    no_checks: bool,
    number: int | None,
    surveys: tuple[str, ...],
    codebook: str | None,
    encoding: str | None,
    seed: int,
    output: Path | None,
    trying: bool,
    dry_run: bool,
    resume: bool,
    show_prompt: bool,
    value: str | None,
    persona: str | None,
    force: bool,
) -> None:
    """Ask a language model for the same cube, from the probabilities it gives to the answer options.

    Answers are kept in OUTPUT.units until the cube is written: --resume goes on from there. Those of a server are kept
    in OUTPUT.answers.jsonl, by prompt, and gone on from in any case: delete the file to ask anew.

    \b
    acecausal elicit --model ./SmolLM2-135M-Instruct --like human.zarr -o model.zarr
    acecausal elicit --model M --like human.zarr --order forward --order reversed --template interview -o model.zarr
    acecausal elicit --endpoint http://localhost:8000/v1 --model NAME --like human.zarr -o model.zarr
    acecausal elicit --model M --like human.zarr --try
    acecausal elicit --model M --like human.zarr --profiles 200 --survey survey.sav --codebook survey.yaml -o model.zarr
    acecausal elicit --model M --like human.zarr --show-prompt --value poverty --persona gender=female
    """
    from acecausal.cube.outputs import check_output, hold

    writes, store = not (show_prompt or trying or dry_run), None
    if output is None and writes:
        raise click.UsageError("Missing option '-o' / '--output' (or --try, --dry-run, --show-prompt).")
    _check_usage(endpoint, adapter, precision, revision, rate, writes=writes)
    if (value or persona) and not show_prompt:
        raise click.UsageError("--value and --persona are for --show-prompt: what is asked of whom, --like says.")
    if trying and orders:
        raise click.UsageError("--try asks both orders; leave --order out.")
    if output is not None and writes:
        if first_process():
            check_output(output, suffixes=(".zarr", ".nc"), force=force)
            click.get_current_context().with_resource(hold(output))
        store = None if endpoint else unit_store(output, resume=resume, force=force)
        _wait()  # until the first process has made room
    cube = asked_of(like)
    profiles = _profiles(cube, number, surveys, codebook, encoding, seed, sent=bool(endpoint)) if writes else None

    quiet_libraries()
    from align.models.adapters import adapter_record
    from align.prompting import chat

    record = adapter_record(adapter) if adapter else {}
    recipe = record.get("recipe", {})
    wordings = _wordings(recipe, templates, orders, marks, "digits" if endpoint else "labels")
    told = record.get("template_args", {}) | chat.template_args(template_args)
    if show_prompt:
        from align.elicitation.elicit import sample_text

        texts = [sample_text(cube, wording, value, persona) for wording in wordings]
        _show_prompts(endpoint, source, revision, texts, told)
        return
    kept = output.with_name(f"{output.name}.answers.jsonl") if endpoint and output and writes else None
    if endpoint:
        from align.elicitation.endpoint import Endpoint

        backend: Backend = Endpoint(endpoint, source, per_second=rate, store=kept, template_args=told)
        attrs: dict[str, Any] = {}
    else:
        backend, attrs = _in_process(source, adapter, revision, precision, told, model_differs=model_differs == "ok")
    if trying:
        _try(backend, cube, templates, marks or (("digits", "letters") if endpoint else ()))
        return
    if dry_run:
        _plan(backend, cube, wordings, checks=not no_checks, rate=rate)
        return
    assert output is not None
    if fresh := [w.label for w in wordings if any(map(w.matches, recipe.get("kept_back", [])))]:
        attrs["never_trained_on"] = fresh
    with _keeping(backend, store, {**attrs, "template_args": told}, resume=resume) as keeping:
        asked = _asked(keeping, cube, wordings, profiles, attrs, checks=not no_checks)
    if first_process():
        _write(asked, output, store, kept, force=force)


@contextmanager
def _keeping(backend: Backend, store: Path | None, told: dict[str, Any], *, resume: bool) -> Iterator[Backend]:
    """Let answers be kept in a folder, if one is named, where the block is cut off."""
    from align.elicitation.kept import Kept

    if store is None:
        yield backend
        return
    with kept_units(store, resume=resume or several_processes()):
        yield Kept(backend, store, told)


def _share(kept: Backend) -> Backend:
    """Take this process's share of what several are asked."""
    from align.elicitation.sharing import Share
    from align.models.processes import processes

    group = processes()
    return Share(kept, group.process_index, group.num_processes)


def _wait() -> None:
    """Wait for the other processes, if there are any."""
    if several_processes():
        from align.models.processes import processes

        processes().wait_for_everyone()


def _asked(
    backend: Backend, cube: xr.Dataset, wordings: tuple[Wording, ...], profiles: Profiles | None,
    attrs: dict[str, Any], *, checks: bool,
) -> xr.Dataset:  # fmt: skip
    """Ask, with a bar; of several processes each its share first, and what the others kept only the first is told."""
    from align.elicitation.elicit import elicit as run
    from align.elicitation.elicit import questions

    asking = _share(backend) if several_processes() else backend
    with progress_bar("elicit", questions(cube, checks=checks)) as step:
        asked = run(asking, cube, wordings=wordings, checks=checks, profiles=profiles, attrs=attrs, progress=step)
    _wait()
    if asking is backend or not first_process():  # the first writes the cube, and removes what is kept
        return asked
    return run(backend, cube, wordings=wordings, checks=checks, profiles=profiles, attrs=attrs)


def _write(asked: xr.Dataset, output: Path, store: Path | None, kept: Path | None, *, force: bool) -> None:
    """Write the cube, and say what to think of it; only then what was kept for a resumed run goes."""
    from acecausal.comparison import answering
    from acecausal.cube.files import write_cube
    from acecausal.cube.finished import remove_store

    write_cube(asked, output, force=force)
    if store:
        remove_store(store)
    if kept:
        kept.unlink(missing_ok=True)
    note(f"{output}: option mass {float(asked['option_mass'].mean()):.2f}")
    for line in (*answering.summaries(asked), *(f"warning: {said}" for said in answering.warnings(asked))):
        note(line)


def _show_prompts(
    endpoint: str | None, source: str, revision: str | None, texts: Sequence[Text], told: dict[str, Any]
) -> None:
    """Print prompts as the model gets them."""
    from align.elicitation.endpoint import shown
    from align.models.tokenizer import load_tokenizer
    from align.prompting.prompts import render

    for text in texts:
        click.echo(shown(endpoint, text) if endpoint else render(load_tokenizer(source, revision), text, told)[0])


def _check_usage(
    endpoint: str | None, adapter: Path | None, precision: str | None, revision: str | None, rate: float | None,
    *, writes: bool,
) -> None:  # fmt: skip
    """Refuse options that are for the other kind of model, and processes that nothing can be shared among."""
    if several_processes() and (endpoint or not writes):
        raise click.UsageError("Several processes share what models in them are asked for a cube, and nothing else.")
    for option, given in (("--adapter", adapter), ("--precision", precision), ("--revision", revision)):
        if endpoint and given:
            raise click.UsageError(f"{option} is for a model in this process, not for --endpoint.")
    if rate and not endpoint:
        raise click.UsageError("--rate is for --endpoint.")


def _profiles(
    cube: xr.Dataset,
    number: int | None,
    surveys: tuple[str, ...],
    codebook: str | None,
    encoding: str | None,
    seed: int,
    *,
    sent: bool,
) -> Profiles | None:
    """Read the survey as `estimate` did: the same values, rows and domain."""
    if number is None or codebook is None or not surveys:
        if number or codebook or surveys:
            raise click.UsageError("--profiles, --survey and --codebook go together.")
        return None
    from acecausal.survey.codebook import load_codebook
    from acecausal.survey.data import read_survey
    from align.elicitation.profiles import Profiles
    from cli.estimate import rows_of

    book = load_codebook(codebook).only(cube["value"].values.tolist())
    rows, domain = (
        rows_of(f"{column}={meant}" for column, meant in json.loads(cube.attrs.get(name, "{}")).items())
        for name in ("rows", "domain")
    )
    note_guesses(surveys, encoding)
    if sent:
        note("the profiles of real people are sent to the server: see that the terms of the survey allow it")
    return Profiles(read_survey(surveys, book.with_rows(rows).with_domain(domain), encoding=encoding), number, seed)


def _try(backend: Backend, cube: xr.Dataset, templates: tuple[str, ...], marks: tuple[str, ...]) -> None:
    """Print how a model takes ways of asking, and name the best."""
    from acecausal.comparison.agreement import CONTENT
    from acecausal.comparison.heeding import HEEDED
    from align.elicitation.trying import try_wordings
    from align.prompting.templates import TEMPLATES
    from align.prompting.wordings import MARKS, UNLISTED

    found, best = try_wordings(backend, cube, templates or tuple(TEMPLATES), marks or MARKS)
    rows = [
        [
            f"{one.template} {one.marks}{' unlisted' if one.orders == (UNLISTED,) else ''}", f"{one.mean_heed:.2f}",
            ", ".join(f"{label} {number:.2f}" for label, number in one.heed.items() if number < HEEDED) or "-",
            f"{one.order_agreement:+.2f}", f"{one.option_mass:.2f}", f"{one.seconds:.1f}",
        ]
        for one in found
    ]  # fmt: skip
    columns = ["", "heed", "not heeded", "order agreement", "option mass", "seconds"]
    print_table(f"ways of asking, in both orders: {cube['country_label'].values[0]}", columns, rows)
    if not best.order_agreement >= CONTENT:
        note("in none of them are effects the same when the options are listed in reverse: the model answers by place")
    order = f" --order {UNLISTED}" if best.orders == (UNLISTED,) else ""
    note(f"best: --template {best.template} --marks {best.marks}{order}")


def _plan(
    backend: Backend, cube: xr.Dataset, wordings: tuple[Wording, ...], *, checks: bool, rate: float | None
) -> None:
    """Print what would be asked, and how long it would take."""
    from align.elicitation.backends import InProcess
    from align.elicitation.planning import seconds_per_token, work

    inside = backend if isinstance(backend, InProcess) else None
    found = work(cube, wordings, inside, checks=checks)
    pace = seconds_per_token(inside, cube, wordings) if inside else None
    rows = []
    for name, part in found.items():
        counted = (part.questions, part.prompts, part.tokens, part.distinct)
        seconds = part.distinct * pace if part.distinct and pace else part.prompts / rate if rate else None
        minutes = number_or_dash(None if seconds is None else seconds / 60, 1)
        rows.append([name, *("-" if count is None else f"{count:,}" for count in counted), minutes])
    columns = ["", "questions", "prompts", "tokens", "computed", "minutes"]
    print_table(f"to be asked, in {len(wordings)} wordings", columns, rows)


def _wordings(
    recipe: dict[str, Any], templates: tuple[str, ...], orders: tuple[str, ...], marks: tuple[str, ...], usual: str
) -> tuple[Wording, ...]:
    """Cross what is said; else both orders, the first template and marks that the adapter was trained with."""
    from align.prompting.wordings import ORDERS, crossed

    templates = templates or tuple(recipe.get("templates", ["persona-last"])[:1])
    found = crossed(templates, orders or ORDERS, marks or tuple(recipe.get("marks", [usual])[:1]))
    asked = {mark for wording in found for mark in wording.label.split()}
    if lost := [part for part in (*templates, *marks) if part not in asked]:
        raise click.UsageError(
            f"--order unlisted cannot be asked with {', '.join(lost)}: there the options are listed."
        )
    return found


def _in_process(
    source: str,
    adapter: Path | None,
    revision: str | None,
    precision: str | None,
    told: dict[str, Any],
    *,
    model_differs: bool,
) -> tuple[Backend, dict[str, Any]]:
    """Load the model that answers, and say where it comes from."""
    from align.elicitation.backends import InProcess
    from align.models.identity import provenance
    from align.models.load import load_model

    loaded = load_model(source, adapter, revision=revision, precision=precision, model_differs=model_differs)
    backend = InProcess(*loaded, template_args=told)
    if backend.scorer.note:
        note(backend.scorer.note)
    attrs = provenance(source, adapter, revision=revision)
    if attrs.get("adapter_base") == "unknown":
        note(f"{adapter} does not say by hash which model it was trained on")
    return backend, attrs
