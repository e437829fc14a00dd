"""Outputs: only what acecausal wrote is replaced, a new one takes its place when it is whole, and one run writes it.

A folder of several files carries `LIST`, the list of what was written into it, by hash; a cube is its own list, since
whatever is in it that the schema does not know stands out. What is not on the list, or was changed since, stops the
run, and stays.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np

from acecausal.errors import AceError

#: The list of files in a folder that acecausal wrote.
LIST = ".acecausal-files.json"
#: Files of an array in a Zarr store, below the array's folder.
_IN_ARRAY = re.compile(r"zarr\.json|c(/\d+)*")
#: Dimensions of the characters of texts, as xarray calls them.
_CHARACTERS = re.compile(r"string\d+")


def check_output(
    path: str | Path,
    *,
    suffixes: tuple[str, ...] = (),
    force: bool = False,
    hint: str = "use --force to overwrite it, or another name",
) -> Path:
    """Refuse an output path before any work is done.

    Parameters
    ----------
    path : path
    suffixes : tuple of str
        What the name must end in; empty for folders, whose writers call `check_ours` if they replace them.
    force : bool
        Whether what stands there may be replaced. A link never is, nor a cube that acecausal did not write.
    hint : str
        What to do if something stands there.

    Raises
    ------
    AceError
        For a wrong suffix, something that stands there and may not be replaced, a place in a cube, or one that cannot
        be written to.
    """
    path = Path(path)
    if suffixes and path.suffix not in suffixes:
        raise AceError(
            "unknown suffix", param=str(path), expected=" or ".join(suffixes), got=path.suffix or "no suffix"
        )
    if path.is_symlink():
        raise _link(path)
    if path.exists() and not force:
        raise AceError("exists already", param=str(path), hint=hint)
    if suffixes and path.exists():
        check_ours(path)
        if path.suffix == ".zarr" and not path.is_dir():
            raise AceError("is a file", param=str(path), expected="a folder: a cube", hint="use another name")
        if path.suffix != ".zarr" and path.is_dir():
            raise AceError("is a folder", param=str(path), expected="a file", hint="use another name")
    inside = next((parent for parent in path.absolute().parents if (parent / "zarr.json").exists()), None)
    if inside is not None:
        raise AceError("lies in a Zarr store", param=str(path), got=str(inside), hint="use a place beside it")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise AceError("cannot be written there", param=str(path), got=f"{above} is no folder that may be written to")
    return path


def check_ours(path: Path) -> None:
    """Refuse to replace what acecausal did not write.

    Parameters
    ----------
    path : pathlib.Path
        A folder, or a file; of files only NetCDF says what is in it. Nothing there, or nothing in it, is no error.

    Raises
    ------
    AceError
        If it is a link, or holds anything that acecausal did not write; the first few such things are named.
    """
    if path.is_symlink():
        raise _link(path)
    if path.is_dir():
        foreign = _foreign_in_store(path) if (path / "zarr.json").exists() else _foreign_in_folder(path)
        if foreign:
            refuse(path, foreign)
    elif path.suffix == ".nc" and path.exists() and path.stat().st_size:
        extra = _foreign_in_file(path)
        if extra is None:
            raise AceError("is a file that acecausal did not write", param=str(path), hint="use another name")
        if extra:
            refuse(path, extra)


def refuse(folder: Path, foreign: list[str]) -> None:
    """Raise the error for a folder that holds what acecausal did not write: these names."""
    shown = ", ".join(sorted(foreign)[:4]) + (f" ... ({len(foreign)} in all)" if len(foreign) > 4 else "")
    raise AceError(
        "holds what acecausal did not write, so it is not replaced",
        param=str(folder),
        got=shown,
        hint="use another name, or move that elsewhere",
    )


def entries(folder: Path) -> Iterator[tuple[str, bool]]:
    """Give everything in a folder: its path in it with slashes, and whether it is a plain file. Links are not followed.

    Of folders only those are given in which there is nothing.
    """
    for root, folders, files in os.walk(folder):
        within = Path(root).relative_to(folder)
        for name in (*files, *(f for f in folders if (Path(root) / f).is_symlink())):
            entry = Path(root) / name
            yield (within / name).as_posix(), entry.is_file() and not entry.is_symlink()
        if not folders and not files and within.parts:
            yield within.as_posix(), False


def write_list(folder: Path) -> None:
    """Write down that everything now in a folder was written by acecausal, each file with its SHA-256."""
    files = {name: _sha256(folder / name) for name in sorted(name for name, _ in entries(folder)) if name != LIST}
    text = json.dumps({"written_by": f"acecausal {version('acecausal')}", "files": files}, indent=1)
    (folder / LIST).write_text(text, encoding="utf-8")


@contextmanager
def whole(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield where to write, beside `path`; what was written there takes its place if the block ends well.

    Parameters
    ----------
    path : pathlib.Path
        What stands there is replaced if acecausal wrote it (see `check_ours`).
    folder : bool
        Make what is yielded a folder, and put the list of its files in it at the end.

    Raises
    ------
    AceError
        If what stands there is not ours, or the disk is full.
    """
    check_ours(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            part.mkdir()
        yield part
        if folder:
            write_list(part)
        replace(part, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise unwritten(path, error) from error
    finally:
        remove(part)


def unwritten(path: Path, error: OSError, hint: str = "make room, or use another place") -> AceError:
    """Build the error for a disk that is full, or a file that may not grow."""
    return AceError("cannot be written", param=str(path), got=os.strerror(error.errno or 0), hint=hint)


def replace(new: Path, path: Path) -> None:
    """Put `new` where `path` is; what stood there, if acecausal wrote it, goes after the new one is in place."""
    check_ours(path)
    swap(new, path)


def swap(new: Path, path: Path) -> None:
    """Put `new` where `path` is, for writers that have made sure of what stands there."""
    if not path.is_dir():
        new.replace(path)
        return
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    remove(old)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder; nothing there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Keep other runs from writing `path` while the block runs; the system lets go of it when the process dies.

    Raises
    ------
    AceError
        If another run holds it.
    """
    import fcntl

    lock = path.with_name(f".{path.name}.lock")
    made = [parent for parent in lock.absolute().parents if not parent.exists()]
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        while True:
            stream = lock.open("a+", encoding="utf-8")
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                who = stream.read().strip()
                stream.close()
                raise AceError(
                    "is being written by another run",
                    param=str(path),
                    got=who,
                    hint="wait until that run has ended, or use another name",
                ) from None
            except OSError:  # a file system without locks
                break
            # whoever held it removes it when done: only the file that still stands there counts
            with suppress(FileNotFoundError):
                if os.fstat(stream.fileno()).st_ino == lock.stat().st_ino:
                    break
            stream.close()
        try:
            with suppress(OSError):  # a full disk: the lock holds without a word in it
                stream.truncate(0)
                stream.write(f"process {os.getpid()} on {socket.gethostname()}")
                stream.flush()
            yield
        finally:
            lock.unlink(missing_ok=True)
            with suppress(OSError):
                stream.close()
    finally:
        for parent in made:
            with suppress(OSError):  # something was written there
                parent.rmdir()


def _link(path: Path) -> AceError:
    return AceError(
        "is a symbolic link", param=str(path), got=f"it points to {os.readlink(path)}",
        hint="name what it points to, or remove the link",
    )  # fmt: skip


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _foreign_in_folder(folder: Path) -> list[str]:
    """Name what is in a folder and not on its list, or not any more what was listed."""
    try:
        listed = dict(json.loads((folder / LIST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        listed = {}
    foreign = []
    for name, plain in entries(folder):
        if name == LIST and listed and plain:
            continue
        if not plain or name not in listed:
            foreign.append(name)
        elif _sha256(folder / name) != listed[name]:
            foreign.append(f"{name} (changed since)")
    return foreign


def _foreign_in_store(folder: Path) -> list[str]:
    """Name what is in a Zarr store and is no part of a cube; everything, if the store is none."""
    found = list(entries(folder))
    try:
        stated = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["attributes"][
            "acecausal_schema_version"
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return [name for name, _ in found]
    foreign = []
    for name, plain in found:
        array, _, rest = name.partition("/")
        ours = name == "zarr.json" or (_IN_ARRAY.fullmatch(rest) and _known(array, stated))
        if not plain or not ours:
            foreign.append(name)
        elif rest == "zarr.json":
            foreign += [f"{array}, dimension {dim}" for dim in _dims(folder / name) if not _known(dim, stated)]
    return foreign


def _dims(array: Path) -> list[str]:
    """Give the names of the dimensions of an array in a Zarr store; none where it says none."""
    try:
        return list(map(str, json.loads(array.read_text(encoding="utf-8"))["dimension_names"]))
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _foreign_in_file(path: Path) -> list[str] | None:
    """Name what is in a NetCDF file and is no part of a cube; None if the file is none."""
    import h5py

    try:
        with h5py.File(path) as file:
            if "acecausal_schema_version" not in file.attrs:
                return None
            stated = np.ravel(file.attrs["acecausal_schema_version"])[0]  # NetCDF has numbers as arrays of one
            return [name for name, part in file.items() if isinstance(part, h5py.Group) or not _known(name, stated)]
    except OSError:
        return None


def _known(name: str, version: object) -> bool:
    """Whether a cube of that version of the schema may have an array or dimension of that name."""
    from acecausal.cube import schema

    if str(version) != str(schema.VERSION):
        return True  # what those were called, we do not know
    coordinates = schema.COORDINATES.keys() | schema.OPTIONAL_COORDINATES.keys()
    named = {word for spec in schema.VARIABLES for word in (spec.name, *spec.dims)}
    return name in named | coordinates or _CHARACTERS.fullmatch(name) is not None
