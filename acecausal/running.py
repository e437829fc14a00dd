"""Running the units of a plan: in process, in processes, or on a Dask cluster; each unit once, whatever is killed.

A unit is the responses of a country, or one contrast in it. It depends on nothing but the survey and the plan, and the
libraries' threads are set to one while it runs: the numbers are the same bit for bit wherever it runs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from acecausal.effects import contrast_effects
from acecausal.errors import AceError
from acecausal.plan import Plan
from acecausal.responses import responses
from acecausal.sample import Sample
from acecausal.survey import Survey

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Unit:
    """A country, and a contrast of it or (None) its responses; both as positions in the plan."""

    country: int
    contrast: int | None

    @property
    def name(self) -> str:
        return f"{self.country:03d}-{'responses' if self.contrast is None else f'{self.contrast:03d}'}"


def units(plan: Plan) -> list[Unit]:
    """List a plan's units, country by country."""
    parts = (None, *range(len(plan.lattice.contrasts)))
    return [Unit(country, part) for country in range(len(plan.countries)) for part in parts]


def run_unit(sample: Sample, unit: Unit) -> Arrays:
    """Compute one unit from its country's sample."""
    return responses(sample) if unit.contrast is None else contrast_effects(sample, unit.contrast)


def run(
    survey: Survey,
    plan: Plan,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    store: Path | None = None,
    progress: Callable[[], None] | None = None,
) -> dict[Unit, Arrays]:
    """Run all units of a plan.

    Parameters
    ----------
    survey : Survey
    plan : Plan
    jobs : int
        Processes; 1 runs in this one.
    scheduler : str, optional
        Address of a Dask scheduler, instead of `jobs`.
    store : Path, optional
        Folder in which finished units are kept, and from which those that are there are taken.
    progress : callable, optional
        Called without arguments after each unit.

    Raises
    ------
    AceError
        If `jobs` is not positive, the scheduler cannot be reached, or the folder belongs to another plan or survey.
    """
    if jobs < 1:
        raise AceError("out of range", param="jobs", expected="1 or more", got=jobs)
    every = units(plan)
    done = {} if store is None else _kept(store, fingerprint(survey, plan), every)
    for _ in done:
        if progress:
            progress()
    left = [unit for unit in every if unit not in done]
    for unit, arrays in _compute(survey, plan, left, jobs, scheduler):
        if store is not None:
            _keep(store, unit, arrays)
        done[unit] = arrays
        if progress:
            progress()
    return {unit: done[unit] for unit in every}


def fingerprint(survey: Survey, plan: Plan) -> str:
    """Hash everything that decides the numbers: the plan, the data, the libraries."""
    from importlib.metadata import version

    data = [survey.country, survey.weight, survey.stratum, survey.psu, survey.fraction, survey.identity, survey.item]
    for part in (survey.attributes, survey.values, survey.covariates):
        data += [part[name] for name in part]
    digest = hashlib.sha256(repr(plan).encode())
    digest.update(survey.codebook.sha256.encode())
    for array in data:
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    for library in ("acecausal", "econml", "numpy", "scikit-learn", "scipy"):
        digest.update(version(library).encode())
    return digest.hexdigest()


def _compute(
    survey: Survey, plan: Plan, left: list[Unit], jobs: int, scheduler: str | None
) -> Iterator[tuple[Unit, Arrays]]:
    """Yield units as they are finished."""
    samples: dict[int, Sample] = {}

    def sample(country: int) -> Sample:
        if country not in samples:
            samples.clear()  # units come country by country: one sample at a time is enough
            samples[country] = Sample.of(survey, plan, country)
        return samples[country]

    if scheduler is not None:
        yield from _on_cluster(sample, left, scheduler)
    elif jobs == 1 or len(left) < 2:
        with threadpool_limits(1):
            for unit in left:
                yield unit, run_unit(sample(unit.country), unit)
    else:
        from joblib import Parallel, delayed

        pool = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="2*n_jobs")
        yield from pool(delayed(_named)(sample(unit.country), unit) for unit in left)


def _on_cluster(sample: Callable[[int], Sample], left: list[Unit], address: str) -> Iterator[tuple[Unit, Arrays]]:
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise AceError(
            "needs Dask's distributed", param="scheduler", hint="pip install 'acecausal[dask]', here and on the workers"
        ) from error
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise AceError("cannot be reached", param=f"scheduler {address}", got=str(error).splitlines()[0]) from error
    with client:
        futures = [client.submit(_named, sample(unit.country), unit, pure=False) for unit in left]
        for future in as_completed(futures, loop=client.loop):
            yield future.result()
            future.release()


def _named(sample: Sample, unit: Unit) -> tuple[Unit, Arrays]:
    with threadpool_limits(1):
        return unit, run_unit(sample, unit)


# --- the folder of finished units -------------------------------------------------------------------------------------


def _kept(store: Path, mark: str, every: list[Unit]) -> dict[Unit, Arrays]:
    """Open or make the folder, and read the units that are there."""
    sign = store / "plan"
    if not store.exists():
        store.mkdir(parents=True)
        _write(sign, mark.encode())
    if not sign.exists() or sign.read_text() != mark:
        raise AceError(
            "holds the units of another run",
            param=str(store),
            hint="the survey, the choices or the versions differ; remove it to begin anew",
        )
    return {unit: _read(path) for unit in every if (path := store / f"{unit.name}.npz").exists()}


def _keep(store: Path, unit: Unit, arrays: Arrays) -> None:
    """Write a unit beside its place, force it to disk, and rename: it is there whole or not at all."""
    beside = store / f".{unit.name}.{os.getpid()}.npz"
    with beside.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
        stream.flush()
        os.fsync(stream.fileno())
    beside.rename(store / f"{unit.name}.npz")


def _read(path: Path) -> Arrays:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.rename(path)
