"""A run's folder: nothing goes on from what is damaged; what is whole, or the user's, stays."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from acecausal.errors import AceError
from align.models.identity import fingerprint
from align.models.load import load_model
from align.training.alignment import align
from align.training.checkpoints import SEAL, damage, newest_whole
from align.training.folder import beside, check_free, start
from align.training.lattice_trainer import LatticeTrainer
from align.training.recipe import load_recipe
from align.training.train import train

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def few(plain):
    """One question in two countries, so that a run takes a second."""
    return plain.isel(value=[0])


@pytest.fixture(scope="module")
def recipe():
    chosen = load_recipe("default", passes=3, accumulate=1)
    optimiser = chosen.optimiser.model_copy(update={"learning_rate": 5e-3, "schedule": "linear"})
    # dropout, so that a lost random state shows; a schedule, so that a lost one does
    lora = chosen.lora.model_copy(update={"dropout": 0.2})
    return chosen.model_copy(update={"optimiser": optimiser, "lora": lora, "recompute": 0})


def run(model, cube, recipe, folder, **more):
    loaded = load_model(model)
    return train(*loaded, cube, recipe, folder, base=fingerprint(model), **more)


@pytest.fixture(scope="module")
def done(tiny_model, few, recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "adapter"
    run(tiny_model, few, recipe, folder)
    return folder


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def same(one, other) -> bool:
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def kept(folder):
    found = sorted((folder / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))
    return [path for path in found if path.name.startswith("checkpoint-")]


# --- damaged checkpoints ----------------------------------------------------------------------------------------------


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def tensor_gone(path):
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path)


def other_weights(path):
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)


DAMAGE = [
    *((name, how) for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
      for how in (truncated, one_bit, os.remove)),
    *(("adapter_model.safetensors", how) for how in (truncated, os.remove, tensor_gone, other_weights)),
    ("adapter_config.json", one_bit),
]  # fmt: skip


@pytest.mark.parametrize(("name", "how"), DAMAGE, ids=lambda part: getattr(part, "__name__", part))
def test_damaged_checkpoint__is_passed_over_and_said(done, tmp_path, name, how):
    folder = tmp_path / "adapter"
    shutil.copytree(done, folder)
    older, newest = kept(folder)
    how(newest / name)
    said: list[str] = []
    assert newest_whole(folder / "checkpoints", said.append) == str(older)
    assert said[0].startswith(f"{newest.name} is passed over: {name} is ")
    assert said[1] == f"goes on from {older.name}, the newest whole one"


@pytest.mark.parametrize("left", [0, 1])
def test_damaged_checkpoints__end_at_the_same_weights(done, tiny_model, few, recipe, tmp_path, left):
    """Property: from the newest whole one, or from the start, to the undisturbed run's weights, bit for bit."""
    folder = tmp_path / "adapter"
    shutil.copytree(done, folder)
    for checkpoint in kept(folder)[left:]:
        truncated(checkpoint / "optimizer.pt")
    said: list[str] = []
    run(tiny_model, few, recipe, folder, resume=True, say=said.append)
    assert len(said) == 3 - left
    assert same(folder, done)


def test_checkpoint__without_a_seal_or_with_files_of_others(done, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(done, folder)
    older, newest = kept(folder)
    assert newest_whole(folder / "checkpoints", pytest.fail) == str(newest)
    (newest / "pytorch_model.bin").write_bytes(b"x")
    assert damage(newest) == "pytorch_model.bin does not belong to it"
    (newest / "pytorch_model.bin").unlink()
    for text in ("[]", "{", "3"):
        (newest / SEAL).write_text(text)
        assert damage(newest) == "cannot be read"
    (newest / SEAL).unlink()
    assert damage(newest) == "was cut off while it was written"
    assert newest_whole(folder / "checkpoints", lambda text: None) == str(older)
    os.remove(older / "optimizer.pt")
    said: list[str] = []
    assert newest_whole(folder / "checkpoints", said.append) is None
    assert said[-1] == "none is whole: begins at step 0"


def test_best_checkpoint__goes_along_when_the_folder_is_moved(tiny_model, few, recipe, tmp_path, monkeypatch):
    """The state names the path of where it was: taken at its word, the adapter would be the last or another's."""
    valid = {"country": [str(few.country.values[1])]}
    skills = iter((0.0, 0.1, 0.9, 0.2, 0.3))  # before, and after each pass
    monkeypatch.setattr("align.training.train._validator", lambda *args: lambda model: {"eval_skill": next(skills)})
    chosen, first = recipe.model_copy(update={"passes": 4}), tmp_path / "first"
    run(tiny_model, few, chosen, first, validation=valid)
    best, last = kept(first)
    assert (best.name, last.name) == ("checkpoint-2", "checkpoint-4")
    assert same(first, best)
    assert not same(first, last)
    moved = tmp_path / "moved"
    shutil.copytree(first, moved)
    (moved / "adapter_model.safetensors").unlink()
    other_weights(best / "adapter_model.safetensors")
    run(tiny_model, few, chosen, moved, validation=valid, resume=True)
    assert same(moved, moved / "checkpoints" / best.name)
    assert not same(moved, best)
    other_weights(moved / "checkpoints" / best.name / "adapter_model.safetensors")
    said: list[str] = []
    skills = iter((0.1, 0.9, 0.2, 0.3))
    run(tiny_model, few, chosen, moved, validation=valid, resume=True, say=said.append)
    assert f"{last.name} is passed over: its best one until then, {best.name}" in said[0]
    assert said[-1] == "none is whole: begins at step 0"
    assert same(moved, first)


# --- another model ----------------------------------------------------------------------------------------------------


def test_resume__on_another_model_only_if_told(done, tiny_model, few, recipe, tmp_path):
    other = tmp_path / "tiny"
    shutil.copytree(tiny_model, other)
    other_weights(other / "model.safetensors")
    save_file(load_file(other / "model.safetensors"), other / "model.safetensors", metadata={"format": "pt"})
    folder = tmp_path / "adapter"
    shutil.copytree(done, folder)
    with pytest.raises(AceError, match=r"(?s)is another run.*a different model, weights\n.*--model-differs ok"):
        run(other, few, recipe, folder, resume=True)
    run(other, few, recipe, folder, resume=True, model_differs=True)
    with pytest.raises(AceError, match=r"(?s)is another run.*a different model, recipe, weights\n.*another folder"):
        run(other, few, recipe.model_copy(update={"seed": 5}), folder, resume=True)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"run"', "{", "", "[" * 100_000])
def test_run_record__of_any_shape(done, tiny_model, few, recipe, tmp_path, text):
    folder = tmp_path / "adapter"
    shutil.copytree(done, folder)
    (folder / "run.json").write_text(text)
    with pytest.raises(AceError, match=r"run\.json: cannot be read"):
        run(tiny_model, few, recipe, folder, resume=True)
    with pytest.raises(AceError, match="is no earlier run"):
        run(tiny_model, few, recipe, folder)
    assert same(folder, done)


def test_metrics__of_any_shape(done, tiny_model, few, recipe, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(done, folder)
    lines = (folder / "metrics.jsonl").read_text()
    with (folder / "metrics.jsonl").open("ab") as stream:
        stream.write(b'[]\n{}\n{"step": "x"}\n3}\n{"step": null}\n\xff\xfe}\n' + b"[" * 100_000)
    run(tiny_model, few, recipe, folder, resume=True)
    assert (folder / "metrics.jsonl").read_text() == lines


# --- what is there stays ----------------------------------------------------------------------------------------------


def content(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def earlier(done, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(done, folder)
    return folder


def test_new_run__that_fails_leaves_the_earlier_one_whole(earlier, tiny_model, few, recipe, monkeypatch):
    """At its first step, at its last, and while the adapter is saved; then it goes on and takes the place."""
    before, other = content(earlier), recipe.model_copy(update={"seed": 3})
    learn = LatticeTrainer.compute_loss

    def failing_at(step: int):
        def compute_loss(self, *args, **kwargs):
            if self.state.global_step == step:
                raise RuntimeError("a fault")
            return learn(self, *args, **kwargs)

        return compute_loss

    for step in (0, 5):
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="a fault"):
            patch.setattr(LatticeTrainer, "compute_loss", failing_at(step))
            run(tiny_model, few, other, earlier)
        assert content(earlier) == before
    assert (beside(earlier) / "checkpoints").exists()
    run(tiny_model, few, other, earlier, resume=True)
    assert not beside(earlier).exists()
    assert json.loads((earlier / "run.json").read_text())["recipe"]["seed"] == 3
    assert not [path for path in earlier.parent.iterdir() if path != earlier]


def test_new_run__what_is_not_ours_stops_it_before_anything_is_done(earlier, tiny_model, few, recipe):
    before = content(earlier)
    for name in ("notes.txt", "checkpoints/mine.txt", "checkpoints/checkpoint-6/deep/file", "plots/figure.png"):
        path = earlier / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
        with pytest.raises(AceError, match=r"(?s)holds what acecausal did not write.*hint"):
            align(tiny_model, few, recipe, earlier)
        with pytest.raises(AceError, match="holds what acecausal did not write"):
            run(tiny_model, few, recipe, earlier)
        assert path.read_text() == "mine"
        path.unlink()
        if path.parent != earlier and not any(path.parent.iterdir()):
            path.parent.rmdir()
    assert content(earlier) == before
    check_free(earlier)


def test_new_run__symbolic_links_are_not_followed(earlier, tiny_model, few, recipe, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("mine")
    target = earlier.rename(tmp_path / "elsewhere")
    earlier.symlink_to(target)
    with pytest.raises(AceError, match="is a symbolic link"):
        run(tiny_model, few, recipe, earlier)
    earlier.unlink()
    target.rename(earlier)
    for name in ("README.md", "checkpoints/checkpoint-1"):
        (earlier / name).symlink_to(precious)
        with pytest.raises(AceError, match="holds what acecausal did not write"):
            run(tiny_model, few, recipe, earlier)
        (earlier / name).unlink()
    beside(earlier).symlink_to(precious)
    with pytest.raises(AceError, match="is a symbolic link"):
        run(tiny_model, few, recipe, earlier)
    assert (precious / "data").read_text() == "mine"


def test_new_run__a_users_folder_of_the_name_beside_stays(earlier, tiny_model, few, recipe):
    beside(earlier).mkdir()
    (beside(earlier) / "mine").write_text("mine")
    with pytest.raises(AceError, match="is no earlier run"):
        run(tiny_model, few, recipe, earlier)
    with pytest.raises(AceError, match="is no earlier run"):
        start(earlier, beside(earlier), {})
    assert (beside(earlier) / "mine").exists()


def test_new_run__a_file_put_in_meanwhile_stays(earlier, tiny_model, few, recipe):
    """Both runs stay; the message names the file."""

    def progress(step: int, steps: int) -> None:
        (earlier / "notes.txt").write_text("mine")

    with pytest.raises(AceError, match=r"(?s)holds what acecausal did not write.*notes\.txt"):
        run(tiny_model, few, recipe, earlier, progress=progress)
    assert (earlier / "notes.txt").read_text() == "mine"
    assert weights(earlier)
    assert weights(beside(earlier))


def test_new_run__tensorboard_and_card_are_ours(earlier, tiny_model, few, recipe):
    one_pass = recipe.model_copy(update={"passes": 1})
    run(tiny_model, few, one_pass, earlier, tensorboard=True)
    (earlier / "README.md").write_text("the card")
    assert list(earlier.rglob("events*"))
    run(tiny_model, few, one_pass, earlier)
    assert not list(earlier.rglob("events*"))
