"""Cubes from and to the formats of other programs. Nothing heavy is imported before a format is used."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

    from acecausal.exchange.choices import Choices, Imported

#: What each format holds; the module that reads and writes it has the name with underscores.
FORMATS: dict[str, str] = {
    "ace-align": "the evaluation tree of ACE-Align: COUNTRY/K_attributes/COMBINATION/TOPIC_real.json",
    "ace-align-pairs": "the training rows of ACE-Align: one JSON object per edge and line, .jsonl",
    "popfidelity": "popfidelity's cells: a folder with survey_cells.csv, questions.yaml and facets.yaml, or one CSV",
    "subpop": "SubPOP's rows: one JSON object per question and group and line, .jsonl",
    "opinionqa": "OpinionQA's and GlobalOpinionQA's rows (VITAL, Modular Pluralism): one per question and group, .json",
    "broom": "effects as one long table under the column names of R's broom, .csv or .parquet",
}
#: A table of effects holds no responses, so no cube can be made of it.
IMPORTS = ("ace-align", "ace-align-pairs", "popfidelity", "subpop", "opinionqa")
EXPORTS = ("ace-align", "ace-align-pairs", "popfidelity", "broom")


def import_cube(format: str, path: str | Path, choices: Choices | None = None) -> Imported:
    """Make a survey cube of associations from another program's files.

    Parameters
    ----------
    format : str
        One of `IMPORTS`.
    path : path
        File or folder.
    choices : Choices, optional
        What the files do not say.

    Returns
    -------
    Imported
        The cube, what was noted on the way (with counts), and the problems that were passed over.

    Raises
    ------
    AceError
        For an unknown format, or the first thing that is wrong, with file and row; with ``keep_going`` only if nothing
        is left.
    """
    from acecausal.exchange.choices import Choices

    return _module(format, IMPORTS).read(Path(path), choices or Choices())


def export_cube(format: str, cube: xr.Dataset, path: str | Path, *, force: bool = False) -> list[str]:
    """Write a cube in another program's format: beside its place, then renamed.

    Parameters
    ----------
    format : str
        One of `EXPORTS`.
    cube : xarray.Dataset
        Of people or of a model.
    path : path
        File or folder.
    force : bool
        Whether what stands there may be replaced.

    Returns
    -------
    list of str
        What the cube holds and the format does not.

    Raises
    ------
    AceError
        For an unknown format, or an output that stands there already.
    """
    from acecausal.cube.files import with_options

    left: list[str] = []
    if format != "broom":
        cube, left = with_options(cube)
    lost: list[str] = _module(format, EXPORTS).write(cube, Path(path), force=force)
    return [*([f"values that are numbers: {', '.join(left)}"] if left else []), *lost]


def _module(format: str, formats: tuple[str, ...]) -> Any:
    if format not in formats:
        from acecausal.errors import unknown

        raise unknown("format", format, formats)
    return import_module(f"{__name__}.{format.replace('-', '_')}")
