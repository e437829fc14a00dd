"""The folds, rebuilt from docs/statistics.md alone: plain Python over the file's cells, no numpy, no pandas.

Oracle: that text, and the published SipHash-2-4 and splitmix64. Equality, no tolerance.
"""

from __future__ import annotations

import csv
import hashlib
import random
from pathlib import Path

import pytest

from acecausal.estimation.plan import make_plan
from acecausal.estimation.sample import Sample
from acecausal.survey.codebook import Codebook
from acecausal.survey.data import read_survey

ALL = 2**64 - 1


def siphash(text: str) -> int:
    """SipHash-2-4 (Aumasson and Bernstein 2012)."""
    key, data = b"0123456789123456", text.encode()
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def turn(x: int, by: int) -> int:
        return (x << by | x >> (64 - by)) & ALL

    def rounds(times: int) -> None:
        for _ in range(times):
            v[0] = (v[0] + v[1]) & ALL
            v[1] = turn(v[1], 13) ^ v[0]
            v[0] = turn(v[0], 32)
            v[2] = (v[2] + v[3]) & ALL
            v[3] = turn(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & ALL
            v[3] = turn(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & ALL
            v[1] = turn(v[1], 17) ^ v[2]
            v[2] = turn(v[2], 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) % 256])
    for i in range(0, len(padded), 8):
        word = int.from_bytes(padded[i : i + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def key_of(who: int, seed: int) -> int:
    z = (who + seed * 0x9E3779B97F4A7C15) & ALL
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & ALL
    z = (z ^ z >> 27) * 0x94D049BB133111EB & ALL
    return z ^ z >> 31


def folds(rows: list[dict[str, str]], who: list[int], contrast: str, cells: list[str], seed: int) -> dict[int, int]:
    """Give the fold of each row of one country, for the value `trust`."""
    treatment, treated = contrast.split(":")
    digest = hashlib.sha256("\x1f".join([str(seed), rows[0]["country"], contrast]).encode()).digest()
    mixed = [key_of(number, int.from_bytes(digest[:4], "little")) for number in who]
    groups: dict[tuple, dict[str, list[int]]] = {}
    for i, row in enumerate(rows):
        known = all(row[name] for name in ("trust", treatment, *cells, "income"))
        arm = {treated: "treated", BASELINE[treatment]: "baseline"}.get(row[treatment])
        if known and arm:
            cell = tuple(row[name] for name in cells)
            groups.setdefault(cell, {"treated": [], "baseline": []})[arm].append(i)
    found = {}
    for arms in groups.values():
        if min(len({mixed[i] for i in arm}) for arm in arms.values()) < 5:
            continue
        for arm in arms.values():
            ranks = {number: rank for rank, number in enumerate(sorted({mixed[i] for i in arm}))}
            found |= {i: ranks[mixed[i]] % 5 for i in arm}
    return found


BASELINE = {"gender": "male", "school": "low"}


def book(design: dict) -> Codebook:
    def levels(*names):
        return {"levels": {name: {"codes": [name], "label": name} for name in names}, "baseline": names[0]}

    return Codebook.model_validate(
        {
            "codebook": 1, "name": "folds", "title": "t", "source": "made up", "licence": "free",
            "countries": {"column": "country", "levels": {n: {"codes": [n], "label": n, "region": "r"} for n in "AB"}},
            "attributes": {
                "gender": {"column": "gender", "label": "gender", **levels("male", "female")},
                "school": {"column": "school", "label": "school", **levels("low", "middle", "high", "none")},
            },
            "covariates": {"income": {"column": "income", "label": "income"}},
            "values": {
                "trust": {
                    "column": "trust", "question": "Trust?", "topic": "t", "scale": "binary",
                    "options": [{"codes": [str(i)], "label": str(i)} for i in (1, 2)],
                }
            },
            **design,
        }
    )  # fmt: skip


@pytest.mark.parametrize("design", ["id", "within", "row"])
def test_folds__rebuilt_from_the_documentation(tmp_path: Path, design: str):
    draw = random.Random(7)
    path = tmp_path / "s.csv"
    names = ["country", "gender", "school", "income", "trust", "wave", "person"]
    lines = []
    for i in range(600):
        answers = [draw.choice(["male", "female"]), draw.choice(["low", "middle", "high", "high"])]
        answers += [str(draw.randint(1, 9)), draw.choice("12")]
        answers = [cell if draw.random() > 0.05 else "" for cell in answers]
        person = f"p{i}" if i % 3 else f" {1000 + i}.0 "
        lines.append([draw.choice("AB"), *answers, draw.choice("12"), person])
    few = ["female"] * 4 + ["male"] * 6  # a cell of too few, and an arm that is too small in one cell
    lines += [["A", gender, "none", "1", "1", "1", f"few{i}"] for i, gender in enumerate(few)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *lines])
    part = {
        "id": {"id": {"column": "person", "absent_in": []}},
        "within": {"id": {"column": "person", "within": "wave"}},
        "row": {},
    }[design]
    survey = read_survey(path, book(part))
    plan = make_plan(survey, seed=11)
    with path.open(newline="") as file:
        table = list(csv.DictReader(file))
    compared = 0
    for c, country in enumerate(plan.countries):
        rows = [row for row in table if row["country"] == country.name]
        texts = [row["person"].strip().removesuffix(".0") for row in rows]
        who = {
            "id": [key_of(siphash(text), 0) for text in texts],
            "within": [key_of(siphash(f"{text}@{row['wave']}"), 0) for text, row in zip(texts, rows, strict=True)],
            "row": list(range(len(rows))),
        }[design]
        sample = Sample.of(survey, plan, c)
        for fit in (fit for fit in plan.fits if fit.country == c):
            contrast = plan.lattice.contrast_labels[fit.contrast]
            held = ["school"] if contrast.startswith("gender") else ["gender"]
            positions = sample.rows(fit)
            fold, _ = sample.problem(fit, positions).folds
            ours = {int(i): int(f) for i, f in zip(positions, fold[:, 0], strict=True) if f >= 0}
            assert ours == folds(rows, who, contrast, held, 11)
            assert len(set(ours.values())) == 5 or (country.name, contrast) == ("B", "school:none")
            compared += len(ours)
    assert compared > 1000
