"""Tables of the page: what they show, and all their rows as CSV inside the page."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from acecausal.cube import schema
from acecausal.report import cells, facts, words

_SIGNED = {"estimate", "conf_low", "conf_high", "effect", "pooled", "prediction_low", "prediction_high"}


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


def of(frame: pd.DataFrame, csv_name: str, *, limit: int = 200, rename: Mapping[str, str] | None = None) -> Table:
    """Show a table: at most `limit` rows, if need be those of the smallest q-value; the CSV has all, unrounded.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns of words first, then of numbers.
    csv_name : str
    limit : int
    rename : mapping of str to str, optional
        Other column names, as ``m0`` to a model's label.
    """
    frame = frame.rename(columns=dict(rename or {}))
    shown, note = frame, ""
    if len(frame) > limit:
        chosen = np.arange(len(frame))
        if "q_value" in frame:
            chosen = np.sort(np.argsort(frame["q_value"].to_numpy(), kind="stable")[:limit])
        shown = frame.iloc[chosen[:limit]]
        kept = "rows of smallest q-value" if "q_value" in frame else "first rows"
        note = f"Shown: the {limit:,} {kept}. Left out here: {len(frame) - limit:,}."
    columns = [_written(str(name), shown[name]) for name in shown]
    rows = [list(row) for row in zip(*columns, strict=True)]
    text = list(itertools.takewhile(lambda name: not pd.api.types.is_numeric_dtype(frame[name]), frame))
    public = frame.rename(columns=facts.PUBLIC)
    return Table(tuple(words.clean(name) for name in public), rows, len(text), note, to_uri(public), csv_name)


def _written(name: str, column: pd.Series) -> list[str]:
    if not pd.api.types.is_numeric_dtype(column):
        return ["" if entry is None else words.clean(entry) for entry in column]
    if pd.api.types.is_integer_dtype(column):
        return ["–" if pd.isna(entry) else f"{entry:,}" for entry in column]
    if name in {"p_value", "q_value", "p"}:
        return [words.small(entry) for entry in column]
    write = words.signed if name in _SIGNED else words.plain
    return [write(entry, 3) for entry in column]


def to_uri(frame: pd.DataFrame) -> str:
    """Write a table as CSV into a data: URI, every number as exactly as the cube holds it."""
    text = frame.to_csv(index=False, lineterminator="\r\n")
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


def contexts(cube: xr.Dataset, max_rows: int) -> tuple[np.ndarray, int]:
    """Choose the contexts whose effects fit into `max_rows` rows: whole granularities, the coarsest first.

    Returns
    -------
    chosen : numpy.ndarray of bool
        Per persona.
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
    return chosen, int(per_persona[~chosen].sum())


def not_estimated(cube: xr.Dataset) -> Table:
    """Count the cells of every country and attribute by what became of them, over all contexts that are edges."""
    reason = np.array(schema.STATUS, dtype=object)[cube["status"].values]
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
