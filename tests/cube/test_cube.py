"""Cubes on disk, and the schema that guards them."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.check import validate
from acecausal.cube.files import open_cube, write_cube
from acecausal.errors import AceError, CubeError
from cli import main


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_round_trip__numbers_labels_attrs(tmp_path, ess_cube, suffix):
    path = write_cube(ess_cube, tmp_path / f"a{suffix}")
    again = open_cube(path)
    xr.testing.assert_identical(again.drop_attrs(), ess_cube.drop_attrs())
    assert again.attrs == ess_cube.attrs
    assert again.status.attrs["flag_meanings"].split() == list(schema.STATUS)
    assert cubes.lattice_of(again) == cubes.lattice_of(ess_cube)
    assert cubes.values_of(again)[0].options[0] == "0 - Bad for the economy"
    assert [c.label for c in cubes.countries_of(again)] == ["Great Britain", "Norway"]
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]  # nothing left beside it


LONG = "the United Kingdom of Great Britain and Northern Ireland, Österreich"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_texts__survive_plain_xarray(tmp_path, human, suffix):
    """Labels of cubes that plain xarray put together (concat, outer join, merge, sel) are whole, as it sees them and
    after writing and opening again, in either format; opening warns of nothing."""
    one = human.isel(country=[0])
    other = human.isel(country=[1]).assign_coords(country=[LONG], country_label=("country", [LONG]))
    paths = [write_cube(cube, tmp_path / f"{name}{suffix}") for name, cube in (("one", one), ("other", other))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a, b = (xr.open_dataset(path).load() for path in paths)
    assert set(a.coords) == set(human.coords)
    xr.testing.assert_identical(a.drop_attrs(), one.drop_attrs())
    how = {"data_vars": "minimal", "coords": "minimal", "compat": "override"}
    both = {
        "concat": xr.concat([b, a], "country", join="exact", **how),
        "outer": xr.concat([a, b.isel(value=[0])], "country", join="outer", **how),
        "merge": xr.merge([a, b], join="outer", compat="no_conflicts"),
        "sel": b.sel(country=[LONG]),
    }
    assert xr.align(a["response"], b["response"], join="outer")[0]["country"].values.tolist().count(LONG) == 1
    for name, cube in both.items():
        for again in (".zarr", ".nc"):
            path = tmp_path / f"{name}{again}"
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="String dimension naming mismatch")
                warnings.filterwarnings("ignore", message=".*Zarr (V3|format 3) specification.*")
                cube.to_zarr(path) if again == ".zarr" else cube.to_netcdf(path, engine="h5netcdf")
            # merging makes floats of whole numbers, which the schema refuses
            found = xr.open_dataset(path).load() if name == "merge" else open_cube(path)
            assert LONG in found["country"].values
            assert found["country_label"].sel(country=LONG).item() == LONG
            np.testing.assert_array_equal(found["option_label"].values, human["option_label"].values)
            xr.testing.assert_equal(found["response"].sel(country=[LONG]), other["response"])


def test_put_together__attrs_speak_of_the_first_alone(tmp_path, human):
    """xarray keeps the first cube's attrs: the report says of whom they do not speak, `show` doubts."""
    first, alone = human.isel(country=[0]), human.isel(country=[0])
    covers = {"country": human["country"].values.tolist()[:1], "value": ["poverty"]}
    first.attrs |= {"covers": json.dumps(covers), "respondents": 1234, "source": "Somebody's file"}
    second = human.isel(country=[1]).assign_coords(country=["Utopia"], country_label=("country", ["Utopia"]))
    how = {"data_vars": "minimal", "coords": "minimal", "compat": "override", "join": "exact"}
    both = write_cube(xr.concat([first, second], "country", **how), tmp_path / "both.zarr")
    write_cube(alone, tmp_path / "alone.zarr")
    said = "of Utopia neither source nor method is known"
    for name, there in (("both", True), ("alone", False)):
        assert (
            CliRunner().invoke(main, ["report", f"{tmp_path}/{name}.zarr", "-o", f"{tmp_path}/{name}.md"]).exit_code
            == 0
        )
        assert (said in (tmp_path / f"{name}.md").read_text().lower().replace("utopia", "Utopia")) is there
        path = f"{tmp_path}/{name}.zarr"
        asked = (["show", path], ["compare", path, path], ["export", "broom", path, "-o", f"{tmp_path}/{name}-b.csv"])
        for command in asked if name == "alone" else (*asked, ["pool", path]):
            assert (said in CliRunner().invoke(main, command).stderr) is there, command
    text = (tmp_path / "both.md").read_text()
    assert "all that follows is said (1,234 respondents)" in text
    assert "Data: 1,234" not in text
    result = CliRunner().invoke(main, ["report", str(both), "-o", f"{tmp_path}/both.csv"])
    assert result.exit_code == 0
    table = pd.read_csv(tmp_path / "both.csv")
    assert set(table["estimand"][table["country"] != "Utopia"]) == {"direct"}
    assert table["estimand"][table["country"] == "Utopia"].isna().all()


@pytest.mark.parametrize("name", ["adjustment", "modifiers"])
@pytest.mark.parametrize("damage", ["nothing", "no key", "not a list"])
def test_attrs__what_is_held_fixed_is_said_of_every_attribute(human, name, damage):
    """A cube that had lost an attribute's list ended in tracebacks where effects are reckoned like for like."""
    told = json.loads(human.attrs[name])
    first = next(iter(told))
    changed = {
        "nothing": told | {first: None}, "not a list": told | {first: "age"},
        "no key": {key: names for key, names in told.items() if key != first},
    }[damage]  # fmt: skip
    with pytest.raises(CubeError, match=name):
        validate(human.assign_attrs({name: json.dumps(changed)}))


def test_overwrite__only_with_force_and_only_when_whole(tmp_path, human, monkeypatch):
    path = write_cube(human, tmp_path / "a.zarr")
    with pytest.raises(AceError, match="--force"):
        write_cube(human, path)
    before = open_cube(path)

    def killed(*args, **kwargs):
        (Path(args[1]) / "half").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(xr.Dataset, "to_zarr", killed)
        write_cube(human, path, force=True)
    xr.testing.assert_identical(open_cube(path), before)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    write_cube(human.isel(country=[0]), path, force=True)
    assert open_cube(path).sizes["country"] == 1


def test_outputs__are_never_written_into_a_cube(tmp_path, human):
    path = write_cube(human, tmp_path / "a.zarr")
    before = sorted(path.rglob("*"))
    (tmp_path / "link").symlink_to(path)
    for command, output in (
        (["report", path], path / "x.html"),
        (["report", path, "--format", "svg"], path / "effect" / "x"),
        (["pool", path], tmp_path / "link" / "x.csv"),
        (["export", "broom", path, "--force"], path / "x.csv"),
        (["export", "popfidelity", path], path / "cells"),
    ):
        result = CliRunner().invoke(main, [*map(str, command), "-o", str(output)])
        assert result.exit_code == 1
        assert "lies in a Zarr store" in result.stderr
    assert sorted(path.rglob("*")) == before


def test_open__what_is_no_cube(tmp_path, human):
    with pytest.raises(CubeError, match="no such cube"):
        open_cube(tmp_path / "none.zarr")
    (tmp_path / "junk.nc").write_bytes(b"junk")
    with pytest.raises(CubeError, match="cannot be read"):
        open_cube(tmp_path / "junk.nc")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(CubeError, match="cannot be read"):
        open_cube(tmp_path / "empty.zarr")
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(CubeError, match="not an acecausal cube"):
        open_cube(tmp_path / "other.nc")
    old = human.copy()
    old.attrs["acecausal_schema_version"] = 0
    old.to_netcdf(tmp_path / "old.nc", engine="h5netcdf")
    with pytest.raises(CubeError, match="another schema version"):
        open_cube(tmp_path / "old.nc")
    with pytest.raises(AceError, match=r"\.zarr or \.nc"):
        write_cube(human, tmp_path / "a.parquet")


def broken(human: xr.Dataset, case: str) -> xr.Dataset:
    cube = human.copy(deep=True)
    at = tuple(np.argwhere(cube["status"].values == schema.OK)[-1])
    match case:
        case "transposed":
            cube["effect"] = cube["effect"].transpose("attribute", "country", "value", "persona")
        case "missing":
            cube = cube.drop_vars("q_value")
        case "foreign":
            cube["colour"] = cube["effect"]
        case "travelling NaN":
            cube["effect"].values[cube.status.values == schema.OK] = np.nan
        case "estimate without status":
            cube["effect_se"].values[cube.status.values == schema.TOO_FEW] = 1.0
        case "infinite":
            cube["n_eff"].values[0] = np.inf
        case "range":
            cube["response"].values[0, 0, 0, 0] = 1.2
        case "dtype":
            cube["n"] = cube["n"].astype(float)
        case "kind":
            cube.attrs["kind"] = "people"
        case "labels twice":
            cube = cube.assign_coords(country=["A", "A", "B", "C"])
        case "personas cut off":
            cube = cube.isel(persona=slice(0, 20))
        case "scalar country":
            cube = cube.isel(country=0)
        case "scalar covariate":
            cube = cube.isel(covariate=0)
        case "part of a group":
            cube = cube.drop_vars("n_psu_treated")
        case "broken lattice":
            cube.attrs["lattice"] = "{bad"
        case "no lattice":
            del cube.attrs["lattice"]
        case "no country":
            cube = cube.isel(country=[])
        case "no options":
            cube = cube.isel(option=[])
        case "option labels emptied":
            cube = cube.assign_coords(option_label=(("value", "option"), np.full((1, 3), "", dtype=object)))
        case "question is a number":
            cube = cube.assign_coords(question=("value", [0.5]))
        case "options renumbered":
            cube = cube.assign_coords(option=[0, 1, 2])
        case "options cut":
            cube = cube.isel(option=[0, 1])
        case "one option":
            cube = cube.assign_coords(n_options=("value", [1]))
        case "foreign scale":
            cube = cube.assign_coords(scale=("value", np.array(["likert"], dtype=object)))
        case "baseline of another lattice":
            cube = cube.assign_coords(baseline=("attribute", cube["treated"].values))
        case "granularity reversed":
            cube = cube.assign_coords(granularity=("persona", cube["granularity"].values[::-1]))
        case "bounds reversed":
            cube = cube.isel(bound=[1, 0])
        case "no draws":
            cube["refutation_draw"] = ((*schema.FIT, "refuter", "draw"), np.empty((*cube["e_value"].shape, 4, 0)))
        case "lattice is a number":
            cube.attrs["lattice"] = 3
        case "lattice without depth":
            cube.attrs["lattice"] = '{"attributes": []}'
        case "confidence":
            cube.attrs["confidence"] = 95
        case "noted":
            cube.attrs["noted"] = '{"rows": "many"}'
        case "kind is a list":
            cube.attrs["kind"] = ["survey"]
        case "version":
            cube.attrs["acecausal_schema_version"] = "x"
        case "attr is an array":
            cube.attrs["title"] = np.arange(3)
        case "shares":
            cube["response"].values[0, 0, 0] = [0.1, 0.2, 0.3]
        case "shrunken shares":
            cube["response_shrunk"].values[0, 0, 0] = [0.1, 0.2, 0.3]
        case "effect edited":
            cube["effect"].values[at] += 1e-5
        case "shift edited":
            cube["shift"].values[at] += [-1e-3, 0, 1e-3]
        case "shift off zero":
            cube["shift"].values[at] += [0, 1e-3, 0]
        case "shrunk effect edited":
            cube["effect_shrunk"].values[at] += 1e-5
        case "interval edited":
            cube["effect_interval"].values[at] += 1
        case "interval turned":
            cube["effect_interval"].values[at] = cube["effect_interval"].values[at][::-1]
        case "q edited":
            cube["q_value"].values[at] = cube["p_value"].values[at] * 0.99
    return cube


EXPECTED = {
    "transposed": "effect: expected dims",
    "missing": "q_value: missing",
    "foreign": "colour: not in the schema",
    "travelling NaN": "effect: 295 numbers",
    "estimate without status": "effect_se: 137 numbers",
    "infinite": "n_eff: holds infinite",
    "range": "response: 1 numbers outside",
    "dtype": "n: expected dtype kind i",
    "kind": "expected one of",
    "labels twice": "labels occur twice",
    "personas cut off": "labels are not those of attrs",
    "scalar country": "dimension country: has no labels",
    "scalar covariate": "smd_before: expected dims",
    "part of a group": "n_psu_treated: missing beside n_psu_baseline",
    "broken lattice": "cannot be read",
    "no lattice": "lattice",
    "no country": "dimension country: is empty",
    "no options": "dimension option: is empty",
    "option labels emptied": "option_label of poverty: holds empty texts",
    "question is a number": "coordinate question: expected texts, got 0.5",
    "options renumbered": r"dimension option: expected 1\.\.3",
    "options cut": r"n_options of poverty: expected 2\.\.2, got 3",
    "one option": r"n_options of poverty: expected 2\.\.3, got 1",
    "foreign scale": "scale of poverty: expected one of",
    "baseline of another lattice": "coordinate baseline: its labels are not those",
    "granularity reversed": "coordinate granularity: its labels are not those",
    "bounds reversed": "dimension bound: expected the labels lower, upper",
    "no draws": "dimension draw: is empty",
    "lattice is a number": r"attrs\['lattice'\]: expected a text",
    "lattice without depth": "cannot be read",
    "confidence": r"attrs\['confidence'\]: expected a number between 0 and 1, got '95'",
    "noted": r"attrs\['noted'\]: expected numbers by reason",
    "kind is a list": "expected one of",
    "version": "another schema version",
    "attr is an array": r"attrs\['title'\]: expected a text or a number",
    "shares": "response: 1 of them do not sum to 1",
    "shrunken shares": "response_shrunk: 1 of them do not sum to 1",
    "effect edited": "effect: 1 are not the score-weighted shift",
    "shift edited": "effect: 1 are not the score-weighted shift",
    "shift off zero": "shift: 1 of them do not sum to 0",
    "shrunk effect edited": "effect_shrunk: 1 are not the score-weighted shift_shrunk",
    "interval edited": "effect_interval: 1 do not hold their effect",
    "interval turned": "effect_interval: 1 do not hold their effect",
    "q edited": "q_value: 1 are below their p_value",
}


@pytest.mark.parametrize("case", EXPECTED)
def test_validate__each_violation_is_named(human, case):
    validate(human)
    for name in schema.COORDINATES:
        with pytest.raises(CubeError, match=f"coordinate {name}: missing"):
            validate(human.drop_vars(name))
    with pytest.raises(CubeError, match=EXPECTED[case]):
        validate(broken(human, case))


def test_validate__all_violations_at_once(human):
    cube = broken(broken(human, "foreign"), "missing")
    with pytest.raises(CubeError) as caught:
        validate(cube)
    assert "q_value" in str(caught.value)
    assert "colour" in str(caught.value)


def test_nominal__shift_but_no_effect(wvs):
    """A nominal value has shifts and no score: its effects are missing although the status is ok, its test is of all
    shifts at once; a cube without that test, as made before there was one, is a cube nevertheless."""
    from acecausal.estimation.estimate import estimate

    spec = wvs.codebook.values["poverty"].model_copy(update={"scale": "nominal"})
    book = wvs.codebook.model_copy(update={"values": {"poverty": spec}})
    cube = estimate(dataclasses.replace(wvs, codebook=book))
    assert cube.effect.isnull().all()
    assert (cube.p_value.notnull() == (cube.status == schema.OK)).all()
    assert int(cube["shift"].notnull().sum()) == 3 * 295
    untested = cube.assign(p_value=cube.p_value * np.nan, q_value=cube.q_value * np.nan)
    validate(untested)
    with pytest.raises(CubeError, match="p_value"):
        validate(cube.assign(p_value=cube.p_value.fillna(0.5)))
