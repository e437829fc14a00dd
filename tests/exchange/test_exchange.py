"""What all formats share: choices in range, cubes that the rest of the package takes, and the commands' help."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from exchange_files import noisy_model, read_subpop, run, subpop_rows

from acecausal.comparison.compare import compare
from acecausal.errors import AceError, CubeError
from acecausal.exchange import EXPORTS, IMPORTS, export_cube
from acecausal.exchange.choices import Choices
from acecausal.report.page import render
from align.training.targets import make_targets


def test_choices__out_of_range():
    for wrong in ({"min_arm": 1}, {"confidence": 1.0}, {"respondents": 0}):
        with pytest.raises(AceError, match="out of range"):
            Choices(**wrong)


@pytest.mark.slow
def test_downstream__takes_an_imported_cube(imported, tmp_path):
    model = noisy_model(imported.cube)
    result = compare(imported.cube, model)
    assert result["level"]["cells"] == int((imported.cube["n"] >= 10).sum())
    assert np.isfinite(result["level"]["null"])
    assert np.isfinite(result["effect"]["ceiling"])
    assert len(make_targets(imported.cube, source="association")) == 8
    assert len(make_targets(imported.cube, source="shrunk")) == 8
    assert "Association" in render(imported.cube, {"model": model}).title()
    partial = read_subpop(tmp_path / "a.jsonl", subpop_rows(), baselines={"SEX": "Male"}).cube
    assert compare(partial, noisy_model(partial))["level"]["cells"] == 6


def test_models__are_not_written_as_people(imported, tmp_path):
    model = noisy_model(imported.cube)
    for name in ("ace-align", "ace-align-pairs"):
        with pytest.raises(CubeError, match="is a model's cube"):
            export_cube(name, model, tmp_path / "x.jsonl")
    assert list(tmp_path.iterdir()) == []
    export_cube("broom", model, tmp_path / "m.csv")
    assert "std.error" not in pd.read_csv(tmp_path / "m.csv").columns


def test_help__says_what_each_format_holds():
    for command, formats in (("import", IMPORTS), ("export", EXPORTS)):
        text = run(command, "--help").output
        for name in formats:
            assert f"{name}: " in text
