"""Survey files, odd or damaged: one message, or a survey that is sound; no crash of a library, no row out of nothing.

By hand: ``python tests/fuzz/test_fuzz_survey_files.py 4000 [SEED]``, a quarter of them for each kind of file.
"""

from __future__ import annotations

import datetime
import decimal
import sys
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import numpy as np
import pandas as pd
import pyreadstat
from fuzzing import by_hand, fuzz, spoilt
from minimal_codebook import RICH
from readstat_forks import run
from survey_checks import sound

from acecausal.errors import AceError
from acecausal.estimation.estimate import estimate
from acecausal.survey import labelled_files
from acecausal.survey.checking import check, compare_labels
from acecausal.survey.codebook import Codebook, load_codebook
from acecausal.survey.data import read_survey
from acecausal.survey.drafting import draft
from acecausal.survey.readers import read_labels

KINDS = (".csv", ".parquet", ".sav", ".dta")
#: What a message must not say: that our own code stumbled, and not the library over the file.
STUMBLES = ("TypeError", "AttributeError", "IndexError", "KeyError", "AssertionError", "RecursionError", "MemoryError")
CELLS: list[Any] = [
    None, np.nan, np.inf, -np.inf, 0, -1, 1, 2, 1.5, 9, 99, 1e300, 2**63, 10**30, True, "", " ", "1", "1.0", "2 ", "x",
    "NA", "1,5", "é", "\x00", "a\nb", 'a"b', "a,b;c", "x" * 400, "inf", "1e999", b"\xff",
]  # fmt: skip
OBJECTS: list[Any] = [
    datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1, 3), datetime.timedelta(1), decimal.Decimal("1.10"), [1],
    {"a": 1}, pd.NA, pd.NaT,
]  # fmt: skip
LABELS = {
    "s": {1: "Male", 2: "Female"}, "a": {-1: "No answer"}, "t": {1: "yes", 2: "no", 9: "Don't know"},
    "o": {1: "very", 2: "rather", 3: "not", -1: "Refused"}, "c": {1: "A", 2: "B"},
}  # fmt: skip


@cache
def book() -> Codebook:
    return Codebook.model_validate(RICH)


def answers(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Answers that fit `RICH`."""
    codes = {"c": [1, 2], "s": [1, 2], "y": [2020], "t": [1, 2, 9], "o": [1, 2, 3, -1]}
    drawn: dict[str, Any] = {name: rng.choice(some, n) for name, some in codes.items()}
    return pd.DataFrame(
        drawn
        | {"a": rng.integers(18, 90, n), "i": rng.normal(size=n), "w": rng.uniform(0.5, 2, n)}
        | {"st": rng.integers(0, 3, n), "p": np.arange(n) // 2, "id": np.arange(n)}
    )


def odd(table: pd.DataFrame, rng: np.random.Generator, cells: list[Any]) -> pd.DataFrame:  # noqa: PLR0911
    """Make one thing of a table odd, as files are that people send."""
    name = str(rng.choice(list(table)))
    cell = cells[rng.integers(0, len(cells))]
    match rng.integers(0, 9):
        case 0:  # some cells
            column = table[name].astype(object)
            for row in rng.integers(0, max(len(table), 1), 2) if len(table) else ():
                column.iloc[row] = cell
            return table.assign(**{name: column})
        case 1:  # all cells
            return table.assign(**{name: pd.Series([cell] * len(table), dtype=object)})
        case 2:
            return table.drop(columns=name)
        case 3:
            return table.rename(columns={name: str(rng.choice([name.upper(), "", " ", "é", "x" * 70, "Other", "1"]))})
        case 4:
            return table.iloc[: rng.integers(0, 3)]
        case 5:  # names that stand twice
            return pd.concat([table, table[[name]]], axis=1)
        case 6:
            kinds = ["float32", "float16", "int8", "uint64", "str", "category", "bool", "Int64", "datetime64[s]"]
            return table.assign(**{name: table[name].astype(str(rng.choice(kinds)))})
        case 7:
            return table.iloc[rng.integers(0, max(len(table), 1), len(table))].reset_index(drop=True)
        case _:
            return table[list(rng.permutation(list(table)))]


def written(table: pd.DataFrame, path: Path, rng: np.random.Generator) -> None:
    """Write a table as programs do; whatever they cannot write is raised."""
    labels = {name: codes for name, codes in LABELS.items() if name in table}
    match path.suffix:
        case ".csv":
            ways = [{}, {"sep": ";"}, {"sep": "\t"}, {"index": True}, {"quoting": 1}, {"encoding": "utf-16"},
                    {"encoding": "utf-8-sig"}, {"encoding": "cp1252", "errors": "replace"},
                    {"quoting": 1, "index": True},
                    {"lineterminator": "\r"}, {"decimal": ","}, {"header": False}]  # fmt: skip
            table.to_csv(path, **{"index": False, **ways[rng.integers(0, len(ways))]})
        case ".parquet":
            table.to_parquet(
                path, row_group_size=int(rng.choice([7, 1000])), compression=rng.choice(["snappy", "none"])
            )
        case ".sav":
            ranges = {"a": [{"lo": -9, "hi": -1}], "t": [9]} if rng.random() < 0.5 else {}
            compress = bool(rng.random() < 0.3)
            pyreadstat.write_sav(
                table, path, variable_value_labels=labels, missing_ranges=ranges, row_compress=compress
            )
        case ".dta":
            labels = {name: {int(code): text for code, text in codes.items()} for name, codes in labels.items()}
            version = int(rng.choice([8, 12, 13, 14, 15]))
            pyreadstat.write_dta(table, path, variable_value_labels=labels, version=version)


def tried(what: Any, *args: Any, **how: Any) -> Any:
    """Run a step: what it gives, or None where it refuses in the right way."""
    try:
        return what(*args, **how)
    except AceError as error:
        if str(error.got).startswith(STUMBLES):
            raise
        return None


def case(rng: np.random.Generator, folder: Path) -> str:
    """One file, odd in up to three ways or damaged, through all that reads survey files."""
    kind = KINDS[rng.integers(0, len(KINDS))]
    path = folder / f"survey{kind}"
    table, damage = answers(rng, int(rng.choice([20, 60, 200]))), rng.random() < 0.5
    cells = CELLS + (OBJECTS if kind != ".csv" else [])
    try:
        for _ in range(0 if damage and rng.random() < 0.7 else rng.integers(0, 3)):
            table = odd(table, rng, cells)
        written(table, path, rng)
    except Exception:  # pandas, pyarrow and pyreadstat refuse much themselves
        return f"{kind}: cannot be made"
    for _ in range(rng.integers(1, 3) if damage else 0):
        path.write_bytes(spoilt(path.read_bytes(), rng))
    encoding = str(rng.choice(["guess", "cp1252", "utf-16", "nonsense"])) if rng.random() < 0.2 else None
    with mock.patch.object(labelled_files, "subprocess", mock.Mock(run=run)):
        return f"{kind}: {used(path, encoding, rng)}"


def used(path: Path, encoding: str | None, rng: np.random.Generator) -> str:
    """Do with a file what the commands do."""
    tried(read_labels, path, encoding=encoding)
    found = tried(check, path, book(), encoding=encoding)
    tried(compare_labels, path, book(), encoding=encoding)
    text = tried(draft, path, encoding=encoding)
    if text is not None:
        drafted = path.with_suffix(".yaml")
        drafted.write_text(text, encoding="utf-8")
        again = load_codebook(drafted)  # as it promises
        tried(read_survey, path, again, encoding=encoding)
    survey = tried(read_survey, path, book(), encoding=encoding)
    if survey is None:
        assert found is None or any(finding.severity != "note" for finding in found), (
            "refused, and the check is content"
        )
        return "refused"
    sound(survey)
    if rng.random() < 0.2:
        cube = tried(estimate, survey, refute=0, min_arm=5)
        assert cube is None or ((cube["response"].notnull() & (cube["n"] > 0)).any()), "success with nothing in it"
        assert cube is None or not any(np.isinf(cube[name]).any() for name in cube if cube[name].dtype.kind == "f")
        return "read and estimated" if cube is not None else "read, and the estimate refused"
    return "read"


def test_survey_files(tmp_path):
    outcomes = fuzz(case, 20, tmp_path)
    assert sum(count for name, count in outcomes.items() if name.endswith("read")) > 0


if __name__ == "__main__":
    by_hand(case)
