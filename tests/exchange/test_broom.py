"""Broom's columns: the file is the cube's own table."""

from __future__ import annotations

import pandas as pd
import pytest
from exchange_files import run

from acecausal.cube.files import write_cube


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_broom__is_the_table_of_the_cube(imported, tmp_path, suffix):
    write_cube(imported.cube, tmp_path / "h.nc")
    run("export", "broom", tmp_path / "h.nc", "-o", tmp_path / f"a{suffix}")
    path = tmp_path / f"a{suffix}"
    found = pd.read_parquet(path) if suffix == ".parquet" else pd.read_csv(path)
    ordered, nominal = found[found["option"].isna()], found[found["option"].notna()]
    expected = imported.cube.ace.table().dropna(subset=["estimate"])
    same = {"check_exact": True, "check_dtype": False}
    pd.testing.assert_frame_equal(ordered[expected.columns], expected.reset_index(drop=True), **same)
    shifts = imported.cube.ace.table("option")
    shifts = shifts[shifts["value"].isin(nominal["value"].unique())]
    columns = ["country", "attribute", "value", "context", "option", "option_label", "estimate", "joint.q.value"]
    pd.testing.assert_frame_equal(
        nominal[columns].reset_index(drop=True), shifts[columns].reset_index(drop=True), **same
    )
    scale = dict(zip(imported.cube["value"].values, imported.cube["scale"].values, strict=True))
    assert {scale[name] for name in nominal["value"]} == {"nominal"}
    assert len(nominal) > 0
    if suffix == ".csv":  # rows of effects have no option: that made 1 a 1.0
        assert set(pd.read_csv(path, dtype=str, keep_default_na=False)["option"]) <= {"", *map(str, range(1, 20))}
    assert {"term", "estimate", "std.error", "statistic", "p.value", "conf.low", "conf.high", "country"} <= set(found)
    assert not ordered[expected.columns].isna().any(axis=None)
    assert not nominal[columns].isna().any(axis=None)
    run("export", "broom", tmp_path / "h.nc", "-o", path, code=1)
    run("export", "broom", tmp_path / "h.nc", "-o", path, "--force")
    run("export", "broom", tmp_path / "h.nc", "-o", tmp_path / "a.xlsx", code=1)
