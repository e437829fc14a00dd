"""Other programs' files, made up: ACE-Align's layout, rows of SubPOP and OpinionQA; and cubes to hold them against."""

from __future__ import annotations

import json
from itertools import combinations, product
from pathlib import Path

import numpy as np
import xarray as xr
from click.testing import CliRunner
from models_as_people import as_model

from acecausal.cube import schema
from acecausal.exchange import import_cube
from acecausal.exchange.choices import Choices
from cli import main

ATTRIBUTES = {"gender": ["Male", "Female"], "education": ["No_College", "College"]}
FOUR = {"1": "Family or relative", "2": "Close friend", "3": "Someone else I know", "4": "No one"}
#: Topic, id, wording, options: coded from 0 to 2 and 0 to 10, without an order, with placeholders.
QUESTIONS = [
    ("work", "v1", "How proud are you of [COUNTRY]?", {"1": "Not", "2": "A bit", "3": "Very"}),
    ("work", "v2", "Do you feel [COUNTRY NATIONALITY]?", {"0": "No", "1": "Partly", "2": "Yes"}),
    ("trust", "v1", "How far do you trust the courts?", {str(k): f"{k}" for k in range(11)}),
    ("trust", "Q3", "Who would help you first?", FOUR),
]


def run(*args: object, code: int = 0):
    result = CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def counts_of(country: str, seed: int = 0) -> dict[tuple[str, str], np.ndarray]:
    """People per question, gender, education and option."""
    rng = np.random.default_rng([seed, *country.encode()])
    found = {}
    for topic, name, _, options in QUESTIONS:
        found[topic, name] = rng.integers(8, 60, size=(2, 2, len(options)))
    found["work", "v1"][1, 1] = [1, 0, 0]  # a group of one person
    return found


def plant(folder: Path, countries=("japan", "nigeria"), seed: int = 0) -> Path:
    """Write a tree in the published layout."""
    for country in countries:
        counts = counts_of(country, seed)
        for size in (1, 2):
            for attributes in combinations(ATTRIBUTES, size):
                place = folder / country / f"{size}_attributes" / "_".join(attributes)
                place.mkdir(parents=True)
                for topic in ("work", "trust"):
                    rows = []
                    for where, name, question, options in QUESTIONS:
                        for levels in product(*(ATTRIBUTES[a] for a in attributes)) if where == topic else ():
                            at = dict(zip(attributes, levels, strict=True))
                            index = tuple(
                                ATTRIBUTES[a].index(at[a]) if a in at else slice(None) for a in ATTRIBUTES
                            )  # fmt: skip
                            people = counts[topic, name][index].reshape(-1, len(options)).sum(axis=0)
                            shares = (people / people.sum()).tolist()
                            rows.append(
                                {
                                    "question_id": name,
                                    "question_text": question,
                                    "category": topic,
                                    "options": options,
                                    "demographics": {**at, "country": country.title()},
                                    "p_real": dict(zip(options, shares, strict=True)),
                                    "sample_count": int(people.sum()),
                                }
                            )
                    (place / f"{topic}_real.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def subpop_rows(**changed) -> list[dict]:
    base = {
        "question": "Should more be spent on roads?",
        "options": ["Less", "Same", "More", "Refused"],
        "ordinal": [1.0, 2.0, 3.0],
        "refusal_rate": 0.01,
    }
    groups = [("SEX", "Male", 0.3), ("SEX", "Female", 0.2), ("INCOME", "$100,000 or more", 0.1), ("INCOME", "x/y", 0.4)]
    groups += [("INCOME", "Less", 0.1)]
    return [
        {"qkey": "roads", "attribute": a, "group": g, **base, "responses": [p, 0.5, 0.5 - p], **changed}
        for a, g, p in groups
    ]


def read_subpop(path: Path, rows: list, **choices):
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return import_cube("subpop", path, Choices(**{"respondents": 400, **choices}))


#: Made-up people per group of OpinionQA's rows and option, by question; the last has one option, as some of them have.
OPINIONS = {
    ("How much do you like tea?", ("A lot", "Some", "Not much", "Not at all")): {
        "SEX_Male": [30, 41, 20, 10], "SEX_Female": [60, 30, 17, 6], "RELIG_Hindu": [7, 5, 3, 2],
        "RELIG_Protestant": [50, 40, 31, 9],
    },
    ("Is tea healthy?", ("Yes", "No", "Not sure")): {
        "SEX_Male": [40, 31, 29], "SEX_Female": [70, 20, 23], "RELIG_Hindu": [10, 3, 5],
        "RELIG_Protestant": [61, 40, 30],
    },
    ("Which drink?", ("Tea", "Coffee", "Neither")): {
        "SEX_Male": [37, 50, 13], "SEX_Female": [51, 43, 19], "RELIG_Protestant": [53, 60, 18],
    },
    ("Check all that apply. Tea", ("Not selected",)): {"SEX_Male": [101], "SEX_Female": [113]},
}  # fmt: skip

#: The same with countries as groups, in percent.
COUNTRIES = {
    ("Is it good?", ("Good", "Bad", "DK/Refused")): {
        "United States": [60, 35, 5],
        "S. Korea": [45, 45, 10],
        "China": [70, 20, 10],
        "China (Non-national sample)": [80, 20, 0],
        "Northern Ireland": [50, 50, 0],
    }
}


def opinion_rows(people=None, decimals: int = 10) -> list[dict]:
    """Rows as VITAL has them, of counts per question, group and option."""
    rows = []
    for (question, options), groups in (OPINIONS if people is None else people).items():
        listed = " ".join(f"{letter}. {label}" for letter, label in zip("ABCDEFGH", options, strict=False))
        for group, counts in groups.items():
            rows.append(
                {
                    "question": f"Question: {question}\nOptions: {listed}\nAnswer:",
                    "options": list(options),
                    "attribute": group,
                    "gold_distribution": [round(count / sum(counts), decimals) for count in counts],
                    "pred_distribution": None,
                    "id": 100 + len(rows),
                }
            )
    return rows


def read_opinions(path: Path, rows: list, **choices):
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return import_cube("opinionqa", path, Choices(**choices))


def aligned(cube: xr.Dataset, like: xr.Dataset) -> xr.Dataset:
    """The cube in the order of another one's labels."""
    return cube.sel({dim: like[dim].values for dim in schema.EDGE})


def noisy_model(human: xr.Dataset, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    answers = np.full(human["response"].shape, np.nan)
    for v, k in enumerate(human["n_options"].values):
        answers[:, v, :, :k] = rng.dirichlet(np.ones(k), size=answers[:, v].shape[:2])
    return as_model(human, answers)
