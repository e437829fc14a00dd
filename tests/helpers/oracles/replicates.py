"""What `replicates.R` reads: the Canadian survey of `export.py` with replicate weights made by the textbook's rules.

python replicates.py FOLDER writes a CSV file for each kind, and kinds.json with what svrepdesign is told of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import hadamard

try:
    from oracles.export import canada
except ImportError:  # run as a script
    from export import canada  # type: ignore[no-redef]

#: What svrepdesign, and a codebook, is told of each kind; rscales of JKn and other come from the data.
KINDS: dict[str, dict[str, Any]] = {
    "jk1": {"type": "JK1", "scale": 39 / 40},
    "jkn": {"type": "JKn"},
    "jk2": {"type": "JK2"},
    "brr": {"type": "BRR"},
    "fay": {"type": "Fay", "rho": 0.3},
    "bootstrap": {"type": "bootstrap", "mse": True},
    "successive": {"type": "successive-difference", "mse": True},
}


def factors(kind: str, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray | None]:
    """Give what a replicate multiplies a weight by, shape (n, R), and rscales, shape (R,), where they are needed.

    jk1: 40 groups, by row modulo 40. jkn: PSUs within provinces. jk2, brr, fay: 31 strata of two PSUs, by row.
    bootstrap: of PSUs within provinces, n - 1 of n drawn (Rao and Wu 1988). successive: 32 groups in a circle.
    """
    row = np.arange(len(frame))
    if kind == "jk1":
        return np.where((row % 40)[:, None] == np.arange(40), 0.0, 40 / 39), None
    signs = hadamard(32)
    if kind in ("jk2", "brr", "fay"):
        stratum, half = row % 31, np.where(row // 31 % 2, 1, -1)
        if kind == "jk2":
            return np.where(stratum[:, None] == np.arange(31), 1.0 + half[:, None], 1.0), None
        away = 1.0 if kind == "brr" else 0.7
        return 1 + away * half[:, None] * signs[1 + stratum], None
    if kind == "successive":
        group = row % 31
        return 1 + 2**-1.5 * (signs[1 + group] - signs[1 + (group + 1) % 31]), None
    psu = frame.groupby(["stratum", "psu"]).ngroup().to_numpy()
    stratum = pd.factorize(frame["stratum"])[0][np.unique(psu, return_index=True)[1]]
    size = np.bincount(stratum)[stratum]
    if kind == "jkn":
        left_out = np.eye(len(size), dtype=bool)
        same = stratum[:, None] == stratum
        return np.where(left_out, 0.0, np.where(same, (size / (size - 1))[:, None], 1.0))[psu], (size - 1) / size
    random = np.random.default_rng(0)
    times = np.zeros((len(size), 60))
    for h in np.unique(stratum):
        at = np.flatnonzero(stratum == h)
        drawn = random.multinomial(len(at) - 1, np.full(len(at), 1 / len(at)), size=60)
        times[at] = drawn.T * len(at) / (len(at) - 1)
    return times[psu], None


def replicated(kind: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Give the survey with columns rw1, rw2 ... and what is told of them."""
    frame = canada()
    times, rscales = factors(kind, frame)
    weights = pd.DataFrame(
        frame["weight"].to_numpy()[:, None] * times, columns=[f"rw{r}" for r in range(1, times.shape[1] + 1)]
    )
    told = KINDS[kind] | ({} if rscales is None else {"rscales": rscales.tolist()})
    return pd.concat([frame, weights], axis=1), told


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for kind in KINDS:
        frame, told = replicated(kind)
        frame.to_csv(folder / f"{kind}.csv", index=False, float_format="%.17g")
        (folder / f"{kind}.json").write_text(json.dumps(told), encoding="utf-8")
