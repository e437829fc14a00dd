"""Writing reports: the page, or what papers need, each in place only when it is whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import xarray as xr

from acecausal.comparison.compare import shared
from acecausal.cube.outputs import check_ours, whole
from acecausal.errors import AceError, unknown
from acecausal.report import page, paper
from acecausal.report.formats import Format


def write_report(human: xr.Dataset, models: Mapping[str, xr.Dataset], path: str | Path, kind: Format = "html") -> Path:
    """Write the effect report.

    Parameters
    ----------
    human : xarray.Dataset
        A survey cube.
    models : mapping of str to xarray.Dataset
        Model cubes by the label they get, in the order of the report; may be empty.
    path : path
        A file that stands there is replaced, a folder if everything in it is as acecausal wrote it; the new one is
        written beside it first.
    kind : {'html', 'md', 'tex', 'csv', 'svg', 'png'}
        One HTML page that needs no network, and no script to be read; tables and methods as Markdown or LaTeX; every
        effect as CSV; or a folder with every picture, ``captions.md``, and the list of these files.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    CubeError
        If `human` is not a survey cube, one of `models` is not a model cube, or they share nothing.
    AceError
        If `kind` is unknown, `path` is a folder and should be a file, or the other way round, or a folder with
        something that acecausal did not write, or that was changed since.
    """
    path = Path(path)
    if kind not in get_args(Format):
        raise unknown("kind", kind, get_args(Format))
    drawn = kind in ("svg", "png")
    if path.exists() and path.is_dir() != drawn:
        got, wanted = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
        raise AceError(f"is {got}", param=str(path), expected=f"the name of {wanted}")
    check_ours(path)
    page.check(human, models)
    models = {label: shared(human, model)[1] for label, model in models.items()}  # effects like for like
    with whole(path, folder=drawn) as beside:
        if drawn:
            paper.write_pictures(human, models, beside, kind)
        else:
            text = page.render(human, models) if kind == "html" else paper.TEXTS[kind](human, models)
            beside.write_bytes(text.encode("utf-8", "replace"))
    return path
