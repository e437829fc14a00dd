"""Running the units of a plan: in process, in processes, or on a Dask cluster; each unit once, whatever is killed.

A unit is the responses of a country, or one contrast in it. It depends on nothing but the survey and the plan, and the
libraries' threads are set to one while it runs: the numbers are the same bit for bit wherever it runs.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from acecausal.cube.finished import RESUME, Arrays, CutOffError, finished, keep, open_store
from acecausal.errors import AceError
from acecausal.estimation.control import Control
from acecausal.estimation.effects import contrast_effects
from acecausal.estimation.plan import Plan
from acecausal.estimation.responses import responses
from acecausal.estimation.sample import Sample
from acecausal.survey.data import Survey

Results = Generator[tuple["Unit", Arrays], None, None]

#: Most processes.
MAX_JOBS = 1024


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
    controls: Sequence[Control] | None = None,
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
    controls : sequence of Control, optional
        Per country of the plan what a model expects of its respondents; not beside a `store`.
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
        If `jobs` is not positive, the scheduler cannot be reached, or the folder belongs to another plan or survey, or
        holds something else.
    CutOffError
        If the disk is full, or the processes or the cluster die.
    """
    if not 1 <= jobs <= MAX_JOBS:
        raise AceError("out of range", param="jobs", expected=f"1 or more, up to {MAX_JOBS}", got=jobs)
    every = units(plan)
    done = {} if store is None else _kept(store, fingerprint(survey, plan), every)
    for _ in done:
        if progress:
            progress()
    left = [unit for unit in every if unit not in done]
    with closing(_compute(survey, plan, controls, left, jobs, scheduler)) as found:
        for unit, arrays in found:
            if store is not None:
                keep(store, unit.name, arrays)
            done[unit] = arrays
            if progress:
                progress()
    return {unit: done[unit] for unit in every}


def fingerprint(survey: Survey, plan: Plan) -> str:
    """Hash everything that decides the numbers: the plan, the data, the libraries."""
    from importlib.metadata import version

    data = [survey.country, survey.weight, survey.stratum, survey.psu, survey.fraction, survey.identity, survey.item]
    data += [survey.replicates, survey.inside]
    for part in (survey.attributes, survey.values, survey.covariates):
        data += [part[name] for name in part]
    digest = hashlib.sha256(repr(plan).encode())
    digest.update(survey.codebook.sha256.encode())
    for array in data:
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    for library in ("acecausal", "econml", "numpy", "scikit-learn", "scipy"):
        digest.update(version(library).encode())
    return digest.hexdigest()


def _kept(store: Path, mark: str, every: list[Unit]) -> dict[Unit, Arrays]:
    """Open or make the folder, and read the units that are there."""
    open_store(store, mark)
    found = {unit: finished(store, unit.name) for unit in every}
    return {unit: arrays for unit, arrays in found.items() if arrays is not None}


def _compute(
    survey: Survey,
    plan: Plan,
    controls: Sequence[Control] | None,
    left: list[Unit],
    jobs: int,
    scheduler: str | None,
) -> Results:
    """Yield units as they are finished."""
    samples: dict[int, Sample] = {}

    def sample(country: int) -> Sample:
        if country not in samples:
            samples.clear()  # units come country by country: one sample at a time is enough
            samples[country] = Sample.of(survey, plan, country, controls[country] if controls else None)
        return samples[country]

    if scheduler is not None:
        yield from _on_cluster(sample, left, scheduler)
    elif jobs == 1 or len(left) < 2:
        with threadpool_limits(1):
            for unit in left:
                yield unit, run_unit(sample(unit.country), unit)
    else:
        yield from _in_processes(sample, left, min(jobs, len(left)))


# --- processes --------------------------------------------------------------------------------------------------------


def _in_processes(sample: Callable[[int], Sample], left: list[Unit], jobs: int) -> Results:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool

    pool = Parallel(
        n_jobs=jobs,
        return_as="generator_unordered",
        pre_dispatch="2*n_jobs",
        initializer=_serve,
        initargs=(os.getpid(),),
    )
    ours = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)  # workers start here, and signals are not for them
    try:
        done = pool(delayed(_named)(sample(unit.country), unit) for unit in left)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        with warnings.catch_warnings(), closing(done):
            # closed early by a signal, it warns of units that are lost: they are what a resumed run does
            warnings.filterwarnings("ignore", message=r"\d+ tasks (have been|which were)")
            yield from done
    except BrokenProcessPool as error:
        raise CutOffError(
            "a process was killed", param="jobs", got="out of memory, most likely", hint=f"fewer jobs; {RESUME}"
        ) from error


def _serve(parent: int) -> None:
    """Make this process leave signals to its parent, and end when the parent has, however that ended."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _named(sample: Sample, unit: Unit) -> tuple[Unit, Arrays]:
    with threadpool_limits(1):
        return unit, run_unit(sample, unit)


# --- a cluster --------------------------------------------------------------------------------------------------------

#: Units on the cluster at a time: this many, or twice its threads if that is more.
IN_FLIGHT = 32


def _on_cluster(sample: Callable[[int], Sample], left: list[Unit], address: str) -> Results:
    try:
        from distributed import Client
    except ImportError as error:
        raise AceError(
            "needs Dask's distributed", param="scheduler", hint="pip install 'acecausal[dask]', here and on the workers"
        ) from error
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise AceError("cannot be reached", param=f"scheduler {address}", got=str(error).splitlines()[0]) from error
    with client, closing(_sent(client, sample, left)) as done:
        yield from done


def _sent(client: Any, sample: Callable[[int], Sample], left: list[Unit]) -> Results:
    """Send units as others come back.

    A country's sample is sent once, as a task that unpacks it and on which its units depend: workers pass it on among
    themselves, and if the one that holds it is lost, the scheduler, which keeps the packed one until the country is
    done, has it unpacked anew.
    """
    from concurrent.futures import CancelledError

    from distributed import KilledWorker, as_completed

    waiting, open_units = deque(left), Counter(unit.country for unit in left)
    there: dict[int, Any] = {}
    running = as_completed(loop=client.loop)
    try:
        while waiting or running.count():
            room = max(IN_FLIGHT, 2 * sum(client.nthreads().values())) - running.count()
            for unit in [waiting.popleft() for _ in range(min(room, len(waiting)))]:
                if unit.country not in there:
                    packed = pickle.dumps(sample(unit.country), protocol=pickle.HIGHEST_PROTOCOL)
                    with warnings.catch_warnings():
                        warnings.filterwarnings("ignore", message="Sending large graph")
                        there[unit.country] = client.submit(pickle.loads, packed, pure=False)
                running.add(client.submit(_named, there[unit.country], unit, pure=False))
            future = next(running)
            unit, arrays = future.result()
            future.release()
            open_units[unit.country] -= 1
            if not open_units[unit.country]:
                there.pop(unit.country).release()
            yield unit, arrays
    except (KilledWorker, CancelledError, OSError) as error:
        raise CutOffError(
            "the cluster was lost, or lost its workers again and again",
            param="scheduler",
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            hint=f"more memory per worker; {RESUME}",
        ) from error
