"""ACE-Align's published table against a plain loop over the exported files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from exchange_files import noisy_model, run

from acecausal.comparison.protocol import ace_align
from acecausal.cube.files import write_cube
from acecausal.exchange import export_cube


def published_table(folder: Path, answers) -> dict[int, dict[str, float]]:
    """Reckon the table from the files, row by row; `answers` gives the model's shares for a row."""
    table: dict[int, dict[str, float]] = {}
    for country in sorted(p.name for p in folder.iterdir()):
        for size in range(1, 5):
            files = []
            for path in sorted((folder / country / f"{size}_attributes").glob("*/*_real.json")):
                enough, everybody = [], []
                for row in json.loads(path.read_text(encoding="utf-8")):
                    total, behind = 0.0, 0.0
                    for people, model in zip(row["p_real"].values(), answers(country, row), strict=True):
                        behind += people - model
                        total += abs(behind)
                    emd = total / (len(row["p_real"]) - 1)
                    everybody.append(emd)
                    if row["sample_count"] >= 10:
                        enough.append(emd)
                if everybody:
                    files.append(sum(enough or everybody) / len(enough or everybody))
            if files:
                table.setdefault(size, {})[country] = 100 * (1 - sum(files) / len(files))
    return table


def test_protocol__loop_over_the_exported_files(imported, plain, tmp_path):
    """Oracle: a plain loop over the JSON tree. atol 1e-12, on 0..100."""
    small = plain.copy(deep=True)
    small["n"].values[:] = np.random.default_rng(0).integers(0, 14, size=small["n"].shape)
    for number, human in enumerate((imported.cube, plain, small)):
        model = noisy_model(human, number)
        export_cube("ace-align", human, tmp_path / str(number))

        def answers(country, row, model=model):
            levels = [f"{a}={x}" for a, x in row["demographics"].items() if a != "country"]
            at = {"country": country, "value": row["question_id"], "persona": ",".join(levels)}
            return model["response"].sel(at).values[: len(row["options"])].tolist()

        expected = published_table(tmp_path / str(number), answers)
        result = ace_align(human, model)
        assert {row["granularity"] for row in result["rows"]} == set(expected)
        for row in result["rows"]:
            assert row["countries"] == pytest.approx(expected[row["granularity"]], abs=1e-12)
            assert row["mean"] == pytest.approx(np.mean(list(row["countries"].values())), abs=1e-12)


def test_protocol__thin_files_count_whole_and_command(imported, tmp_path):
    human = imported.cube.copy(deep=True)
    few = human["n"].sel(value=["work.v1", "v2"], persona="gender=Male").copy() * 0 + 3
    human["n"].loc[{"value": ["work.v1", "v2"], "persona": "gender=Male"}] = few
    human["n"].loc[{"value": ["work.v1", "v2"], "persona": "gender=Female"}] = few
    model = noisy_model(human)
    result = ace_align(human, model)
    assert (result["thin"], result["files"]) == (2, 12)  # one topic, one combination, two countries
    write_cube(imported.cube, tmp_path / "h.zarr")
    write_cube(model, tmp_path / "m.zarr")
    printed = json.loads(
        run("compare", tmp_path / "h.zarr", tmp_path / "m.zarr", "--protocol", "ace-align", "--json").stdout
    )  # fmt: skip
    assert printed == ace_align(imported.cube, model)
    text = run("compare", tmp_path / "h.zarr", tmp_path / "m.zarr", "--protocol", "ace-align").stdout
    assert f"{printed['rows'][0]['mean']:.2f}" in text
    run(
        "compare", tmp_path / "h.zarr", tmp_path / "m.zarr", "--protocol", "ace-align", "--hold-out", "value=v2", code=2
    )
