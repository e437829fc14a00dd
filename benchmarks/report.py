"""How long the report of a large survey takes: to write, and to open in a browser; and how large it is.

    python benchmarks/report.py

A made-up cube of 14 countries, 4 attributes and 240 values (the numbers are random; the sizes are those of the World
Values Survey in the published work) with two models. The peer is Altair's own way to a page that needs no network: one
forest plot of the same cube, `save(..., inline=True)`. One JSON object per case on a line; opening needs Chromium.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import altair as alt
import numpy as np
import xarray as xr
from playwright.sync_api import sync_playwright
from results import report

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.lattice import Attribute, Lattice, Level
from acecausal.report import write_report

LEVELS = {"gender": 2, "school": 3, "place": 2, "age": 3}
COUNTRIES, VALUES, OPTIONS = 14, 240, 4
DRAWN = "#explore[data-state=drawn]"


def make() -> tuple[xr.Dataset, dict[str, xr.Dataset]]:
    """Make people's cube and those of two models."""
    rng = np.random.default_rng(0)
    attributes = [
        Attribute(name, name, tuple(Level(f"{name}{i}", f"{name} level {i}", "") for i in range(n)), f"{name}0")
        for name, n in LEVELS.items()
    ]
    lattice = Lattice.over(attributes, 2)
    options = tuple(f"option {k + 1}" for k in range(OPTIONS))
    values = [
        cubes.Value(f"v{i}", f"Question {i}: how much do you agree?", "t", "ordinal", options) for i in range(VALUES)
    ]
    countries = [cubes.Country(f"C{i}", f"Country {i}", "somewhere") for i in range(COUNTRIES)]
    response = rng.dirichlet(np.ones(OPTIONS) * 2, (COUNTRIES, VALUES, len(lattice.personas)))

    def arrays(response: np.ndarray) -> dict[str, np.ndarray]:
        shape = (COUNTRIES, len(lattice.contrasts), VALUES, len(lattice.personas))
        shift, status = np.full((*shape, OPTIONS), np.nan), np.full(shape, schema.NOT_APPLICABLE, dtype=np.int8)
        for contrast, context, low, high in lattice.edges:
            shift[:, contrast, :, context] = response[:, :, high] - response[:, :, low]
            status[:, contrast, :, context] = schema.OK
        return {"response": response, "shift": shift, "effect": shift @ schema.scores(OPTIONS), "status": status}

    people = arrays(response)
    effect = people["effect"]
    there = np.isfinite(effect)
    se = np.where(there, rng.uniform(0.01, 0.2, effect.shape), np.nan)
    q = np.where(there, rng.uniform(0, 0.2, effect.shape), np.nan)
    wide = np.where(np.isfinite(people["shift"]), 0.03, np.nan)
    n = rng.integers(30, 900, response.shape[:3])
    more = {
        **{"response_se": np.full_like(response, 0.02), "response_shrunk": response, "n": n, "n_eff": n.astype(float)},
        **{"response_shrunk_se": np.full_like(response, 0.01), "shift_se": wide, "cumulative_shift_se": wide},
        **{"shift_critical": np.where(there, 2.5, np.nan), "shift_shrunk": people["shift"], "shift_shrunk_se": wide},
        **{"effect_se": se, "effect_shrunk": effect, "effect_shrunk_se": se, "p_value": q / 2, "q_value": q},
        "effect_interval": np.stack([effect - 2 * se, effect + 2 * se], -1),
        **{name: rng.integers(30, 5000, effect.shape) for name in ("n_baseline", "n_treated")},
        "overlap": np.ones(effect.shape),
    }
    human = cubes.build("survey", countries, values, lattice, people | more, {"title": "Benchmark", "confidence": 0.95})
    models = {}
    for label, mix in (("before", 0.2), ("after", 0.8)):
        mixed = mix * response + (1 - mix) * response[:, :, :1]
        own = {"n": np.ones(n.shape, dtype=int), "option_mass": np.full(n.shape, 0.9)}
        models[label] = cubes.build("model", countries, values, lattice, arrays(mixed) | own, {})
    return human, models


def opening(path: Path, drawn: str) -> float:
    """Time from asking for a page until it is drawn, in seconds; the best of three."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        times = []
        for _ in range(3):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            started = time.perf_counter()
            page.goto(f"file://{path}")
            page.wait_for_selector(drawn)
            times.append(time.perf_counter() - started)
            page.close()
        browser.close()
    return min(times)


def main() -> None:
    human, models = make()
    with tempfile.TemporaryDirectory() as folder:
        page, single = Path(folder) / "report.html", Path(folder) / "forest.html"
        started = time.perf_counter()
        write_report(human, models, page)
        wrote = time.perf_counter() - started
        started = time.perf_counter()
        with alt.data_transformers.enable("default", max_rows=None):
            human.ace.forest("v0", "gender:gender1").save(str(single), inline=True)
        wrote_single = time.perf_counter() - started
        opened, opened_single = opening(page, DRAWN), opening(single, "#vis svg, #vis canvas")
        sizes = {"pictures": page.read_text("utf-8").count("<svg"), "cells": int(np.isfinite(human["effect"]).sum())}
        megabytes, megabytes_single = page.stat().st_size / 1e6, single.stat().st_size / 1e6
    more = {"higher_is_better": False, "peer_is": "altair: one forest plot, inline"}
    report("report of 14 x 4 x 240: writing", ours=wrote, peer=wrote_single, unit="s", **more, **sizes)
    report("report of 14 x 4 x 240: opening", ours=opened, peer=opened_single, unit="s", **more)
    report("report of 14 x 4 x 240: size", ours=megabytes, peer=megabytes_single, unit="MB", **more)


if __name__ == "__main__":
    main()
