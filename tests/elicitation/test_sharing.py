"""Several processes that share the questions give the cube of one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from acecausal.cube.files import open_cube, write_cube
from align.elicitation.backends import Answers
from align.elicitation.sharing import Share
from align.prompting.templates import Text
from cli import main

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

LAUNCH = ("--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
          "--dynamo_backend", "no", "--main_process_port", "0")  # fmt: skip


class Counting:
    def __init__(self) -> None:
        self.asked: list[int] = []

    def ask(self, texts):
        self.asked.append(len(texts))
        return Answers(np.zeros((len(texts), 2)))


def test_share__every_question_is_asked_by_one():
    """Three processes, eight questions of 1 to 8 prompts: together each once, none by two."""
    backends = [Counting() for _ in range(3)]
    shares = [Share(backend, index, 3) for index, backend in enumerate(backends)]
    for size in range(1, 9):
        texts = [Text("system", "user", "", ("yes", "no"), True)] * size
        assert {share.ask(texts).log_probs.shape for share in shares} == {(size, 2)}
    assert sorted(size for backend in backends for size in backend.asked) == list(range(1, 9))


def test_two_processes__the_cube_of_one(tiny_model, human, tmp_path):
    """`accelerate launch` with 2 processes. Oracle: one process, every number to the last bit; nothing is left over."""
    write_cube(human.isel(value=[0], country=[0, 1]), tmp_path / "human.zarr")
    told = ["elicit", "--model", str(tiny_model), "--like", str(tmp_path / "human.zarr"), "--template", "interview"]
    assert CliRunner().invoke(main, [*told, "-o", str(tmp_path / "one.zarr")]).exit_code == 0
    (tmp_path / "two.py").write_text("import torch\nfrom cli import main\ntorch.set_num_threads(1)\nmain()\n")
    launch = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH, str(tmp_path / "two.py"), *told]
    done = subprocess.run(
        [*launch, "-o", str(tmp_path / "two.zarr")], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = open_cube(tmp_path / "one.zarr"), open_cube(tmp_path / "two.zarr")
    xr.testing.assert_equal(one, two)
    assert {name: text for name, text in one.attrs.items() if name != "created"} == {
        name: text for name, text in two.attrs.items() if name != "created"
    }
    assert done.stderr.count("option mass") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["human.zarr", "one.zarr", "two.py", "two.zarr"]
