"""The transfer matrix: an adapter for each group alone, asked about every group."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

from acecausal.comparison import holdout
from acecausal.comparison.compare import MIN_RESPONDENTS, compare_parts
from acecausal.cube import schema
from acecausal.cube.files import lattice_of, open_cube, write_cube
from acecausal.cube.outputs import check_ours, refuse, remove
from acecausal.errors import AceError, unknown
from align.elicitation.backends import InProcess
from align.elicitation.elicit import elicit, questions
from align.elicitation.examples import EXAMPLES, elicit_with_examples
from align.models.adapters import ADAPTER_RECORD, CONFIG, WEIGHTS
from align.models.identity import fingerprint, provenance
from align.models.load import load_model
from align.models.sources import read_object
from align.training import folder as folders
from align.training.recipe import Recipe
from align.training.train import content_hash, train

#: What groups can be of, and by what the others are held out.
OVER = {"country": "country", "topic": "topic", "attribute": "attributes"}
#: What the model was given of a row's group.
UNTRAINED, PROMPTED, TRAINED = "untrained", "examples", "trained"
#: What belongs to a run: a resumed one must agree on it.
RUN = "transfer.json"
#: What the command writes beside the cubes and adapters.
TABLE, PICTURE = "transfer.csv", "transfer.svg"

RERUN = "--resume goes on with a run that was cut off, --force starts anew"
#: What is reckoned of each cell of the matrix, as `compare` names it.
MEASURES = {
    "level": ("distance", "null", "ceiling", "skill", "cells"),
    "effect": ("distance", "null", "ceiling", "skill", "cells", "slope", "sign_agreement"),
}
#: What is in a run's folder, what was cut off while it was written included.
_WRITTEN = re.compile(
    rf"transfer\.(json|part|csv|svg)|\..+\.\d+\.(part|old)|"
    rf"({UNTRAINED}|({PROMPTED}|{TRAINED})-\d+(-[a-z0-9-]+)?)\.zarr|{TRAINED}-\d+(-[a-z0-9-]+)?(\.new)?"
)


def groups_of(cube: xr.Dataset, over: str) -> dict[str, holdout.HoldOut]:
    """Find the groups of a cube, each with what is held out so that it alone is seen: all of the others.

    Parameters
    ----------
    cube : xarray.Dataset
        A survey cube.
    over : {'country', 'topic', 'attribute'}
        Of an attribute are the personas that specify it and no other, everybody among them.

    Raises
    ------
    AceError
        If there is one group alone, a value has no topic, or no effect is left of a group: near-duplicates of other
        topics' questions leave it.
    """
    if over not in OVER:
        raise unknown("--over", over, OVER)
    labels = [a.name for a in lattice_of(cube).attributes] if over == "attribute" else cube[over].values.tolist()
    labels = list(dict.fromkeys(map(str, labels)))
    if "" in labels:
        without = cube["value"].values[cube["topic"].values.astype(str) == ""].astype(str)
        raise AceError("values without a topic", param="--over topic", got=", ".join(without[:6]))
    if len(labels) < 2:
        raise AceError(
            "there is one group alone", param=f"--over {over}", expected="two at least", got=", ".join(labels),
            hint="another --over, or a cube of more",
        )  # fmt: skip
    groups = {
        label: holdout.complete({OVER[over]: [other for other in labels if other != label]}, cube) for label in labels
    }
    empty = [label for label, held in groups.items() if not _has_effects(cube, held)]
    if empty:
        raise AceError(
            "groups without an estimated effect of their own", param=f"--over {over}", got=", ".join(empty),
            hint="a cube without them, or questions that ask other things than those of other topics",
        )  # fmt: skip
    return groups


def _has_effects(cube: xr.Dataset, held: holdout.HoldOut) -> bool:
    response, effect = holdout.masks(held, cube)
    people = ((cube["n"].values >= MIN_RESPONDENTS) & ~response).any()
    return bool(people and ((cube["status"].values == schema.OK) & ~effect).any())


def transfer(
    source: str | Path,
    cube: xr.Dataset,
    recipe: Recipe,
    folder: str | Path,
    *,
    over: str,
    examples: int = EXAMPLES,
    template_args: Mapping[str, Any] = MappingProxyType({}),
    revision: str | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> xr.Dataset:
    """Train on each group alone, and ask about every group: whether what is learnt of one holds in the others.

    A row is a model, a column the cells of one group; everything is asked in the wordings that the recipe keeps back,
    so that none was trained on. An adapter, and what it answers about a group are those of ``align --hold-out`` (all
    other groups), ``elicit --adapter`` and ``compare --hold-out`` (what is trained on there).

    Parameters
    ----------
    source : str or Path
        The model, as of `align.models.load.load_model`.
    cube : xarray.Dataset
        A survey cube of two groups at least.
    recipe : Recipe
        With wordings that are kept back.
    folder : str or Path
        Keeps each adapter in a folder and each row's model cube as .zarr, so that a run that was cut off goes on.
    over : {'country', 'topic', 'attribute'}
        See `groups_of`.
    examples : int
        Answers of the row's group that are shown to the untrained model before each question, the rival that needs no
        training (see `align.elicitation.examples`); 0: no such rows.
    template_args, revision
        As of `align.training.alignment.align`.
    resume : bool
        Go on with a run that was cut off; it must be the same one. A finished one gives its numbers again.
    force : bool
        Remove an earlier run first, when all that can be wrong with the new one has been looked at.
    progress : callable, optional
        Called with (hundredths of rows done, hundredths in all).
    say : callable, optional
        Told of each row that is done, and of damaged checkpoints.

    Returns
    -------
    xarray.Dataset
        ``effect_skill`` and ``level_skill`` (row, asked), 1 for a perfect model and 0 for no effect, or the country's
        average, each with its ``distance``, ``null``, ``ceiling`` and ``cells``; ``effect_slope``,
        ``effect_sign_agreement`` (see `acecausal.comparison.compare.compare`); NaN where the cells cannot tell. Rows
        have the coordinates ``method`` (untrained, examples, trained) and ``group`` ('' for untrained); ``own`` (row,
        asked) marks those asked about the group that they were given.

    Raises
    ------
    AceError
        If the recipe keeps no wording back, the groups will not do (see `groups_of`), the folder holds another run or
        anything that acecausal did not write; and as `align.training.train.train`.
    """
    folder, groups = Path(folder), groups_of(cube, over)
    wordings = recipe.kept_wordings
    if not wordings:
        raise AceError(
            "keeps no wording back to ask in", param=f"recipe {recipe.name}", expected="kept_back: [interview], say"
        )
    if examples < 0:
        raise AceError("expected none or some", param="--examples", got=examples)
    base = fingerprint(source, revision)
    record = _record(base, cube, recipe, template_args, over=over, groups=groups, examples=examples)
    _begin(folder, record, resume=resume, force=force)

    rows = _rows(groups, examples)
    missing = [row for row in rows if not (folder / row.cube).exists()]
    steps = _Steps(len(rows), len(rows) - len(missing), progress)
    weights = None if recipe.precision in ("auto", "mixed") else recipe.precision
    load = partial(load_model, source, revision=revision, precision=weights, quantise=recipe.quantise)

    def asking(adapter: Path | None = None) -> tuple[InProcess, dict[str, Any]]:
        loaded = load(adapter=adapter)
        return InProcess(*loaded, template_args=template_args), provenance(source, adapter, revision=revision)

    def keep(row: _Row, asked: xr.Dataset) -> None:
        write_cube(asked, folder / row.cube)
        steps.finished()
        say(f"{row.label}: {row.cube}")

    total = questions(cube, checks=False)
    bare = [row for row in missing if row.method != TRAINED]
    if bare:
        backend, attrs = asking()
        for row in bare:
            tick = steps.counted(total)
            if row.method == UNTRAINED:
                asked = elicit(backend, cube, wordings=wordings, checks=False, attrs=attrs, progress=tick)
            else:
                asked = elicit_with_examples(
                    backend, cube, groups[row.group], wordings, examples=examples, seed=recipe.seed, attrs=attrs,
                    progress=tick,
                )  # fmt: skip
            keep(row, asked)
        del backend  # one model at a time in memory
    for row in missing[len(bare) :]:
        adapter = folder / row.name
        if not _is_whole(adapter):
            train(
                *load(), cube, recipe, adapter, held_out=groups[row.group], template_args=template_args, base=base,
                resume=(adapter / folders.RUN).exists(), progress=lambda at, of: steps.part(at / of), say=say,
            )  # fmt: skip
        backend, attrs = asking(adapter)  # from its folder, as everybody who is given the adapter
        keep(row, elicit(backend, cube, wordings=wordings, checks=False, attrs=attrs))
        del backend
    return _matrix(cube, over, groups, rows, folder)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the matrix: what the model was given, of which group, and the name of what is kept of it."""

    method: str
    group: str
    name: str

    @property
    def cube(self) -> str:
        return f"{self.name}.zarr"

    @property
    def label(self) -> str:
        return {UNTRAINED: "untrained", PROMPTED: f"examples of {self.group}", TRAINED: f"trained on {self.group}"}[
            self.method
        ]


@dataclass
class _Steps:
    """Progress in hundredths of a row."""

    rows: int
    done: int
    report: Callable[[int, int], None] | None

    def part(self, share: float) -> None:
        if self.report:
            self.report(round(100 * (self.done + share)), 100 * self.rows)

    def counted(self, total: int) -> Callable[[], None]:
        """Make what is called after each of so many parts of a row."""
        parts = iter(range(1, total + 1))
        return lambda: self.part(next(parts) / total)

    def finished(self) -> None:
        self.done += 1
        self.part(0)


def _rows(groups: Mapping[str, holdout.HoldOut], examples: int) -> list[_Row]:
    """List the rows in the order of work; labels that file systems do not take are cut down, their numbers stay."""
    rows = [_Row(UNTRAINED, "", UNTRAINED)]
    for method in (PROMPTED, TRAINED) if examples else (TRAINED,):
        for number, group in enumerate(groups, 1):
            spelled = re.sub(r"[^a-z0-9]+", "-", group.lower())[:40].strip("-")
            rows.append(_Row(method, group, "-".join(filter(None, (method, str(number), spelled)))))
    return rows


def _record(
    source: Mapping[str, str],
    cube: xr.Dataset,
    recipe: Recipe,
    told: Mapping[str, Any],
    **choices: Any,
) -> dict[str, Any]:
    """Say all that decides the numbers."""
    asked = [
        cube.attrs["lattice"],
        *(cube[name].values.tolist() for name in ("country_label", "question", "option_label")),
    ]
    return {
        **source,
        **choices,
        "recipe": recipe.model_dump(mode="json"),
        "template_args": dict(told),
        "cube": {"sha256": content_hash(cube), "asked": hashlib.sha256(json.dumps(asked).encode()).hexdigest()},
        "versions": {name: version(name) for name in ("acecausal", "torch", "transformers", "peft")},
    }


def _begin(folder: Path, record: dict[str, Any], *, resume: bool, force: bool) -> None:
    """Make the folder of a run, or see that it is this run's.

    Raises
    ------
    AceError
        If it is not, or holds an earlier run that may be neither gone on with nor removed.
    """
    record = json.loads(json.dumps(record))
    path = folder / RUN
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise AceError("is no folder of its own", param=str(folder), hint="use another name")
    if folder.exists() and any(folder.iterdir()):
        _check_ours(folder)
        if resume:
            before = read_object(path, AceError)
            if differs := sorted(key for key in record if before.get(key) != record[key]):
                raise AceError(
                    "is another run", param=str(folder), expected="the same model, cube, recipe, groups and examples",
                    got=f"a different {', '.join(key.removesuffix('_sha256') for key in differs)}",
                    hint="use another folder",
                )  # fmt: skip
            return
        if not force:
            raise AceError("exists already", param=str(folder), hint=RERUN)
        remove(folder)
    elif resume:
        raise AceError("no run to resume", param=str(folder), expected=f"{RUN} in it", hint="start it without --resume")
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1), encoding="utf-8")
    part.replace(path)


def _check_ours(folder: Path) -> None:
    """Refuse a folder that holds anything but a run of this kind; a link counts as such, wherever it leads.

    Raises
    ------
    AceError
    """
    foreign = []
    begun = (folder / RUN).is_file()
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink() or not begun or not _WRITTEN.fullmatch(entry.name):
            foreign.append(entry.name)
        elif entry.suffix == ".zarr":
            check_ours(entry)
        elif entry.is_dir() and not entry.name.startswith("."):
            folders.check_free(entry)
    if foreign:
        refuse(folder, foreign)


def _is_whole(adapter: Path) -> bool:
    return all((adapter / name).exists() for name in (ADAPTER_RECORD, CONFIG, WEIGHTS))


def _matrix(
    cube: xr.Dataset, over: str, groups: Mapping[str, holdout.HoldOut], rows: Sequence[_Row], folder: Path
) -> xr.Dataset:
    """Compare each row's cube, as it is kept, with people's, group by group."""
    compared = [compare_parts(cube, open_cube(folder / row.cube), groups) for row in rows]
    arrays = {
        f"{part}_{measure}": [[_number(found[group][part][measure]) for group in groups] for found in compared]
        for part, measures in MEASURES.items()
        for measure in measures
    }
    coords = {
        "row": [row.label for row in rows],
        "asked": list(groups),
        "method": ("row", [row.method for row in rows]),
        "group": ("row", [row.group for row in rows]),
        "own": (("row", "asked"), [[row.group == group for group in groups] for row in rows]),
    }
    matrix = xr.Dataset({name: (("row", "asked"), np.array(array)) for name, array in arrays.items()}, coords)
    return matrix.assign_attrs(over=over)


def _number(found: float | None) -> float:
    return np.nan if found is None else float(found)
