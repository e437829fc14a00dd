"""The GPU script, on a CPU with tiny shapes: every part gives its lines, and none that fails loses another's.

No speed is tested. Where both sides run on the same CPU they must agree, to the last bit where they are the same code.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gpu():
    path = list(sys.path)
    sys.path.insert(0, str(SCRIPTS))
    try:
        import gpu

        yield gpu
    finally:
        sys.path[:] = path


@pytest.fixture
def lines(gpu, capsys, tmp_path, recwarn):
    """Run a part in this process; its lines."""

    def run(part, *more):
        gpu.PARTS[part][1](gpu.parsed(["--into", str(tmp_path / "lines"), "--tiny", *more]))
        return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]

    return run


def test_limits_leave_room_in_eight_minutes(gpu):
    assert sum(limit for limit, _ in gpu.PARTS.values()) <= 8 * 60


def test_nothing_is_imported_that_estimates():
    """As on a machine for models alone; oracle: the modules that are there afterwards."""
    code = "import sys; import gpu; print([m for m in ('dowhy', 'econml', 'altair', 'pyreadstat') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def in_this_process(gpu, monkeypatch, tmp_path):
    """Without a GPU a process that sees none is no other; what accelerate launches stays one of its own."""
    apart = gpu.trained_by

    def here(chosen, launch=(), env=None):
        if launch:
            return apart(chosen, launch)
        gpu.trained(gpu.parsed(["--tiny", "--trained", str(tmp_path / "here.npz")]))
        return dict(np.load(tmp_path / "here.npz"))

    monkeypatch.setattr(gpu, "trained_by", here)


@pytest.mark.usefixtures("in_this_process")
def test_agreement(lines):
    scores, gradients, recovery = lines("agreement")
    assert scores["method"] == "trie"
    assert scores["spread"] > 0.1  # nats: else any two sides would agree
    assert scores["ours"] == gradients["ours"] == recovery["effects_apart"] == recovery["losses_apart"] == 0
    assert recovery["typical_effect"] > 0


@pytest.mark.usefixtures("in_this_process")
def test_accelerate(lines):
    (line,) = lines("accelerate")
    assert line["effects_apart"] == line["losses_apart"] == 0


@pytest.mark.parametrize("part", ["training-8b", "training-1b"])
def test_training(lines, part):
    found = lines(part)
    assert [line["peer"] is None for line in found] == [True, False, False, False, False] * 2
    assert all(line["tokens_per_second"] > 0 and line["model_tflops"] > 0 for line in found)
    assert "mfu" not in found[0]  # nobody knows what this processor can do
    assert "mfu" in lines(part, "--peak-tflops", "1")[0]


@pytest.mark.parametrize("part", ["elicitation-8b", "elicitation-1b"])
def test_elicitation(lines, part):
    *found, goal = lines(part)
    assert len(found) == 4
    assert all(line["agreement"] < 1e-5 for line in found)
    assert goal["ours"] > 0


def test_precision(lines):
    exact, mixed, half = lines("precision")
    assert exact["effects_off"] == mixed["effects_off"] == 0 < half["effects_off"] < half["typical_effect"]
    assert 1 > mixed["gradient_cosine"] > 0.98 < half["gradient_cosine"] < 1


def test_attention(lines):
    """Oracle of the candidate: sdpa with a mask of all pairs."""
    found = lines("attention")
    assert len(found) == 4
    assert all(line["counts"] for line in found)


def test_what_is_not_there_is_said(lines):
    assert "no weights" in lines("recovery")[0]["not_run"]
    assert "CUDA" in lines("qlora")[0]["not_run"]


def test_recovery(lines, tiny_model):
    (line,) = lines("recovery", "--model", str(tiny_model))
    assert line["held_out_country"] is not None
    assert set(line["heed"]) == {"gender:female", "education:college"}


def test_a_part_that_dies_or_hangs_loses_nothing(gpu, tmp_path):
    """What it had found stays, and a line says what became of it; the next goes on."""
    into, started = tmp_path / "lines", time.monotonic()
    for name, code, limit in [
        ("whole", 'print(\'{"case": "a"}\')', 20),
        ("dies", "print('{\"case\": \"b\"}', flush=True); raise SystemExit('no memory')", 20),
        ("hangs", 'import time; print(\'{"case": "c"}\', flush=True); time.sleep(600)', 3),
        ("after", 'print(\'{"case": "d"}\')', 20),
    ]:
        gpu.run_part(name, [sys.executable, "-c", code], limit, into)
    found = [json.loads(line) for line in into.read_text("utf-8").splitlines()]
    assert [line["case"] for line in found] == ["a", "b", "part dies", "c", "part hangs", "d"]
    assert "no memory" in found[2]["failed"]
    assert "limit" in found[4]["failed"]
    assert time.monotonic() - started < 60
