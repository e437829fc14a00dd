"""What is known of cells that are held out, or is to stay as it is: responses of everybody, or of one group."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from acecausal.comparison.holdout import HoldOut, masks
from acecausal.errors import DataError, unknown
from acecausal.exchange.text import read_number, read_text, shown

COLUMNS = ("country", "value", "option", "share")
#: Published shares are often whole percents: their sum may miss 1 by this much, and is then brought to it.
ROUNDED = 0.021


@dataclass(frozen=True, slots=True)
class Margins:
    """Responses that the objective `margin` pulls on: the persona's own, and the mixture of the finest ones in it.

    Attributes
    ----------
    response : numpy.ndarray, shape (country, value, persona, option)
        Summing to 1; NaN where nothing is known.
    source : str
        Where it comes from: a file's name, or whose it is.
    """

    response: np.ndarray
    source: str

    @property
    def about(self) -> dict[str, Any]:
        """What to record of them: source, how many, and a hash of their numbers (rounded, as a model's may be)."""
        numbers = np.nan_to_num(self.response, nan=-1).round(6)
        return {
            "source": self.source,
            "responses": int(np.isfinite(self.response).any(axis=-1).sum()),
            "sha256": hashlib.sha256(numbers.tobytes()).hexdigest(),
        }


def read_margins(path: Path, cube: xr.Dataset, held_out: HoldOut) -> Margins:
    """Read published marginals: CSV with the columns country, value, option, share, and, of groups, persona.

    Parameters
    ----------
    path : Path
        A row per option; country, value, option and persona as the cube labels them. Shares are 0..1 and sum to 1
        (whole percents may miss it by .02, and are brought to it). Lines that begin with # are passed over; semicolons
        with decimal commas are read as well, and column names in capitals.
    cube : xarray.Dataset
        The survey cube that is aligned to.
    held_out : dict
        Margins are for what is held out: of anything else the cube knows more.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column, names what the cube does not have, a cell that is not held out, or
        shares that are none, are missing for an option, stand twice, or do not sum to 1.
    """
    where = shown(path)
    response = np.full(cube["response"].shape, np.nan)
    lines: dict[tuple[int, int, int], int] = {}
    for line, row in _rows(path):
        about = f"{where}, line {line}"
        c, v, p = (_at(row[dim] or "all", dim, cube, about) for dim in ("country", "value", "persona"))
        labels = cube["option_label"].values[v, : int(cube["n_options"][v])].astype(str).tolist()
        if row["option"] not in labels:
            raise unknown(f"{about}, option", row["option"], labels)
        option, share = labels.index(row["option"]), read_number(row["share"], "share", "0..1", about)
        if not 0 <= share <= 1:
            raise DataError(
                "is no share", param=about, expected="0..1", got=shown(row["share"]), hint="percents divided by 100"
            )
        if not np.isnan(response[c, v, p, option]):
            raise DataError("stands twice", param=about, got=shown(", ".join(filter(None, row.values()))))
        response[c, v, p, option] = share
        lines.setdefault((c, v, p), line)
    held = masks(held_out, cube)[0]
    for (c, v, p), line in lines.items():
        about, here = f"{where}, line {line}", response[c, v, p, : int(cube["n_options"][v])]
        name = ", ".join(str(cube[dim].values[k]) for dim, k in (("country", c), ("value", v), ("persona", p)))
        if np.isnan(here).any():
            missing = "; ".join(cube["option_label"].values[v, : len(here)][np.isnan(here)].astype(str))
            raise DataError(f"{name}: options are missing", param=about, expected="a row for each", got=missing)
        if abs(here.sum() - 1) > ROUNDED:
            raise DataError(f"{name}: shares do not sum to 1", param=about, got=f"{here.sum():.4g}")
        if not held[c, v, p]:
            raise DataError(
                f"{name} is not held out", param=about, expected="margins of what --hold-out names",
                hint="of the others the cube has the answers themselves",
            )  # fmt: skip
        here /= here.sum()
    return Margins(response, shown(path.name))


def as_they_are(model: xr.Dataset) -> Margins:
    """Take a model's own responses of everybody, for its levels to stay where they are."""
    response = np.full(model["response"].shape, np.nan)
    response[:, :, 0] = model["response"].values[:, :, 0]
    return Margins(response, "the model's own")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the rows as texts, each with its line; lines that begin with # say where the numbers are from."""
    where = shown(path)
    lines = ["" if line.startswith("#") else line for line in read_text(path).splitlines()]
    first = next(filter(str.strip, lines), "")
    semicolons = first.count(";") > first.count(",")  # as spreadsheets write where a comma is the decimal point
    reader = csv.reader(lines, strict=True, delimiter=";" if semicolons else ",")
    try:
        header = [name.strip().casefold() for name in next(filter(None, reader), [])]
        missing = [name for name in COLUMNS if header.count(name) != 1]
        strange = sorted(set(header) - {*COLUMNS, "persona"})
        if missing or strange:
            raise DataError(
                "are not the columns", param=where, expected=f"{', '.join(COLUMNS)}, and, of groups, persona",
                got=", ".join(map(shown, header)) or "nothing",
            )  # fmt: skip
        some = False
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise DataError(
                    "has another number of cells than the header", param=f"{where}, line {reader.line_num}",
                    expected=len(header), got=len(cells),
                )  # fmt: skip
            some = True
            row = {"persona": "", **{k: cell.strip() for k, cell in zip(header, cells, strict=True)}}
            if semicolons:
                row["share"] = row["share"].replace(",", ".")
            yield reader.line_num, row
        if not some:
            raise DataError("has no rows", param=where, expected="a row per option")
    except csv.Error as error:
        raise DataError("cannot be read", param=where, expected="CSV", got=shown(error)) from None


def _at(label: str, dim: str, cube: xr.Dataset, where: str) -> int:
    labels = cube[dim].values.astype(str).tolist()
    if label not in labels:
        raise unknown(f"{where}, {dim}", label, labels)
    return int(labels.index(label))
