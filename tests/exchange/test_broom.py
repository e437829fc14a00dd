"""Broom's columns: the file is the cube's own table."""

from __future__ import annotations

import pandas as pd
import pytest
from exchange_files import run

from acecausal.cube.files import write_cube


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_broom__is_the_table_of_the_cube(imported, tmp_path, suffix):
    write_cube(imported.cube, tmp_path / "h.nc")
    result = run("export", "broom", tmp_path / "h.nc", "-o", tmp_path / f"a{suffix}")
    assert "cells of nominal values" in result.stderr
    path = tmp_path / f"a{suffix}"
    found = pd.read_parquet(path) if suffix == ".parquet" else pd.read_csv(path)
    expected = imported.cube.ace.table().dropna(subset=["estimate"])
    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True), check_exact=True, check_dtype=False)
    assert {"term", "estimate", "std.error", "statistic", "p.value", "conf.low", "conf.high", "country"} <= set(found)
    assert not found.isna().any(axis=None)
    run("export", "broom", tmp_path / "h.nc", "-o", path, code=1)
    run("export", "broom", tmp_path / "h.nc", "-o", path, "--force")
    run("export", "broom", tmp_path / "h.nc", "-o", tmp_path / "a.xlsx", code=1)
