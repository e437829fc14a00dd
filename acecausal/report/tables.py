"""The numbers behind the pictures, as tidy tables and as CSV inside the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from acecausal import schema
from acecausal.report import cells, words

#: Columns of the table of effects, named as broom does.
COLUMNS = (
    "country",
    "contrast",
    "value",
    "context",
    "estimate",
    "std_error",
    "conf_low",
    "conf_high",
    "p_value",
    "q_value",
    "n_baseline",
    "n_treated",
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table on the page.

    Attributes
    ----------
    columns : tuple of str
    rows : list of list of str
        As shown.
    text_columns : int
        How many columns at the left are words; the others are numbers.
    note : str
        What is left out, or empty.
    csv, csv_name : str
        All rows as a data: URI, and the name to save it by; empty if there is none.
    """

    columns: tuple[str, ...]
    rows: list[list[str]]
    text_columns: int
    note: str = ""
    csv: str = ""
    csv_name: str = ""


def tidy(cube: xr.Dataset, personas: Sequence[int] | np.ndarray) -> pd.DataFrame:
    """List the estimated effects in some contexts, one row per cell of the cube.

    Parameters
    ----------
    cube : xarray.Dataset
        A survey cube.
    personas : sequence of int
        Positions of the contexts.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`, in the cube's order (country, contrast, value, context); the cube's numbers, unrounded.
    """
    part = cube.isel(persona=list(personas))
    at = np.nonzero(cells.scored(part))
    country, attribute, value, persona = at
    interval = part["effect_interval"].values
    columns = {
        "country": part["country"].values.astype(str)[country],
        "contrast": part["attribute"].values.astype(str)[attribute],
        "value": part["value"].values.astype(str)[value],
        "context": part["persona"].values.astype(str)[persona],
        "estimate": part["effect"].values[at],
        "std_error": part["effect_se"].values[at],
        "conf_low": interval[*at, 0],
        "conf_high": interval[*at, 1],
        **{name: part[name].values[at] for name in ("p_value", "q_value", "n_baseline", "n_treated")},
    }
    return pd.DataFrame(columns, columns=list(COLUMNS))


def effects(frame: pd.DataFrame, limit: int, csv_name: str) -> Table:
    """Show a table of effects: at most `limit` rows, those of the smallest q first left in; the CSV has all of them."""
    shown = frame
    note = ""
    if len(frame) > limit:
        keep = np.sort(np.argsort(frame["q_value"].to_numpy(), kind="stable")[:limit])
        shown = frame.iloc[keep]
        note = f"Shown: the {limit:,} rows of smallest q-value. Left out here: {len(frame) - limit:,}."
    rows = [
        [
            *(words.clean(text) for text in row[:4]),
            *(words.signed(number, 3) if i != 1 else words.plain(number, 3) for i, number in enumerate(row[4:8])),
            words.small(row[8]),
            words.small(row[9]),
            f"{row[10]:,}",
            f"{row[11]:,}",
        ]
        for row in shown.itertuples(index=False, name=None)
    ]
    return Table(COLUMNS, rows, 4, note, to_uri(frame), csv_name)


def to_uri(frame: pd.DataFrame) -> str:
    """Write a table as CSV into a data: URI, every number as exactly as the cube holds it."""
    text = frame.to_csv(index=False, lineterminator="\r\n")
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


def contexts(cube: xr.Dataset, max_rows: int) -> tuple[np.ndarray, int]:
    """Choose the contexts whose effects fit into `max_rows` rows: whole granularities, the coarsest first.

    Returns
    -------
    personas : numpy.ndarray of int
        Positions of the contexts.
    left_out : int
        Rows of the contexts that do not fit.
    """
    per_persona = cells.scored(cube).sum(axis=(0, 1, 2))
    granularity = cube["granularity"].values
    chosen = np.zeros(len(granularity), dtype=bool)
    for level in np.unique(granularity):
        here = granularity == level
        if level > 0 and per_persona[chosen | here].sum() > max_rows:
            break
        chosen |= here
    return np.flatnonzero(chosen), int(per_persona[~chosen].sum())


def not_estimated(cube: xr.Dataset) -> Table:
    """Count the cells of every country and attribute by what became of them, over all contexts that are edges."""
    reason = cells.reasons(cube)
    edge = cube["status"].values != schema.NOT_APPLICABLE
    treatment = cube["treatment"].values.astype(str)
    kinds = [k for k in ("ok", *words.STATUS_TEXT) if k != "not_applicable" and (reason[edge] == k).any()]
    rows = []
    for c, country in enumerate(cube["country"].values.astype(str)):
        for attribute in dict.fromkeys(treatment):
            here = np.zeros(reason.shape, dtype=bool)
            here[c, treatment == attribute] = True
            counts = [int((reason[here & edge] == kind).sum()) for kind in kinds]
            rows.append([words.clean(country), attribute, *(f"{n:,}" for n in counts)])
    return Table(("country", "attribute", *kinds), rows, 2)
