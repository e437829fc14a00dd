"""What a survey's estimand makes of responses: one linear functional for what models answer and are trained on.

An effect of people holds something fixed and averages over somebody. A model that is asked for two personas and
subtracted holds nothing fixed. So the survey's functional is applied to the model: what the estimand holds fixed is put
into the personas, and these are weighted by how many people they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import xarray as xr
from scipy import sparse

from acecausal.cube import schema
from acecausal.cube.files import lattice_of
from acecausal.cube.lattice import Lattice

LIKE, PLAIN = "like for like", "plain difference"


@dataclass(frozen=True)
class Pattern:
    """Which personas each row of a functional weighs, whatever their shares.

    A row is a mean over its choices (of attributes to specify besides); in a choice each arm is a mean of personas,
    weighted by shares. All but the last have shape (terms,).

    Attributes
    ----------
    row, column : numpy.ndarray, int
        Row of the functional, and the persona whose response counts.
    by : numpy.ndarray, int
        The persona whose share weighs it; -1 where there is nothing to weigh.
    twin : numpy.ndarray, int
        The same persona in the other arm: both must be there.
    arm : numpy.ndarray, int
        Number of choice and arm together: 2 x choice for the baseline, one more for the treated arm.
    choice_row : numpy.ndarray, shape (choices,), int
    """

    row: np.ndarray
    column: np.ndarray
    by: np.ndarray
    twin: np.ndarray
    arm: np.ndarray
    choice_row: np.ndarray

    @classmethod
    def of(cls, choices: Sequence[tuple[int, list[tuple[int, int, int, int]]]]) -> Pattern:
        """Lay out choices: each a row, and its terms as (arm, column, by, twin)."""
        flat = [
            (row, column, by, twin, 2 * number + arm)
            for number, (row, terms) in enumerate(choices)
            for arm, column, by, twin in terms
        ]
        row, column, by, twin, arm = np.array(flat, dtype=np.int64).reshape(-1, 5).T
        return cls(row, column, by, twin, arm, np.array([row for row, _ in choices], dtype=np.int64))

    def weights(self, share: np.ndarray, n: np.ndarray, min_cell: int) -> np.ndarray:
        """Weigh the terms, shape (terms,); 0 for those that do not count.

        Parameters
        ----------
        share, n : numpy.ndarray, shape (personas,)
            NaN where a share is not known.
        min_cell : int
            Fewest respondents of a persona and of its twin.
        """
        enough = (n[self.column] >= min_cell) & (n[self.twin] >= min_cell)
        weight = np.where(self.by < 0, 1.0, np.where(enough, np.nan_to_num(share)[self.by], 0.0))
        total = np.bincount(self.arm, weight, 2 * len(self.choice_row))
        used = np.bincount(self.arm, minlength=len(total)) > 0
        arms = np.stack([total > 0, used], axis=1).reshape(-1, 2, 2)  # choice, arm, (somebody, used)
        whole = (arms[..., 0] == arms[..., 1]).all(axis=1) & used.reshape(-1, 2).any(axis=1)
        choices = np.bincount(self.choice_row[whole], minlength=int(self.choice_row.max(initial=-1)) + 1)
        at = np.where(whole[self.arm // 2], total[self.arm] * choices[self.row], np.inf)
        return weight / at * np.where(self.arm % 2, 1.0, -1.0)


@dataclass(frozen=True)
class Functional:
    """Weights of a lattice's responses, one sparse matrix per country and value.

    Attributes
    ----------
    rows : numpy.ndarray, shape (rows, d), int
        What the rows stand for: contrast, context, baseline and treated persona of each edge (positions in the cube);
        or a persona each.
    patterns : list of Pattern
        Per country: what nobody was asked there is not held fixed there.
    share, n : numpy.ndarray, shape (country, value, persona)
    min_cell : int
        See `Pattern.weights`.
    like_for_like : bool
        Whether anything is weighed by shares; otherwise rows are plain differences of two personas.
    """

    rows: np.ndarray
    patterns: list[Pattern]
    share: np.ndarray
    n: np.ndarray
    min_cell: int
    like_for_like: bool

    @property
    def name(self) -> str:
        """What a cube's attrs call the effects under it."""
        return LIKE if self.like_for_like else PLAIN

    def matrix(self, country: int, value: int) -> sparse.csr_array:
        """Give the weights, shape (rows, personas); a row that nobody's shares tell is empty."""
        pattern = self.patterns[country]
        weight = pattern.weights(self.share[country, value], self.n[country, value], self.min_cell)
        some = weight != 0
        at = (pattern.row[some], pattern.column[some])
        return sparse.csr_array((weight[some], at), shape=(len(self.rows), self.share.shape[2]))

    def apply(self, response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Apply it to responses.

        Parameters
        ----------
        response : numpy.ndarray, shape (country, value, persona, option)

        Returns
        -------
        numpy.ndarray, shape (country, value, rows, option)
            NaN where a row is empty, or a persona that it weighs has no response.
        numpy.ndarray, shape (country, value, rows), bool
            Whether the row has weights.
        """
        n_country, n_value, _, width = response.shape
        found = np.full((n_country, n_value, len(self.rows), width), np.nan)
        known = np.zeros(found.shape[:3], dtype=bool)
        for c, v in np.ndindex(n_country, n_value):
            weights = self.matrix(c, v)
            known[c, v] = np.diff(weights.indptr) > 0
            found[c, v] = np.where(known[c, v][:, None], weights @ response[c, v], np.nan)
        return found, known


@dataclass(frozen=True)
class _Stated:
    """A cube's personas by their codes, and which may be weighed, by the attributes that they specify (positions)."""

    lattice: Lattice
    position: dict[tuple[int, ...], int]
    kinds: frozenset[frozenset[int]]

    @classmethod
    def by(cls, cube: xr.Dataset, there: np.ndarray | None) -> _Stated:
        lattice = lattice_of(cube)
        codes = dict(zip(lattice.personas, lattice.codes.tolist(), strict=True))
        position = {tuple(codes[label]): p for p, label in enumerate(cube["persona"].values.tolist())}
        kinds = frozenset(_specified(row) for row, p in position.items() if there is None or there[p])
        return cls(lattice, position, kinds)

    def choices(self, base: frozenset[int], free: frozenset[int]) -> list[tuple[int, ...]]:
        """Choose as many of the attributes `free` as personas can specify besides `base`: every such choice."""
        for size in range(len(free), -1, -1):
            chosen = [extra for extra in combinations(sorted(free), size) if base | set(extra) in self.kinds]
            if chosen:
                return chosen
        return []

    def levels_of(self, extra: tuple[int, ...]) -> Iterator[dict[int, int]]:
        """List the combinations of levels of some attributes."""
        levels = [range(len(self.lattice.attributes[a].levels)) for a in extra]
        return (dict(zip(extra, codes, strict=True)) for codes in product(*levels))

    def at(self, codes: Sequence[int], levels: dict[int, int]) -> int | None:
        """Find the persona that specifies some levels besides; None if it is not there."""
        return self.position.get(tuple(levels.get(a, code) for a, code in enumerate(codes)))


def effect_functional(cube: xr.Dataset, there: np.ndarray | None = None) -> Functional:
    """Give the functional of the cube's estimand, on the edges of its lattice.

    Parameters
    ----------
    cube : xarray.Dataset
        A survey cube, or a part of one. Without `share` the functional is the plain difference.
    there : numpy.ndarray, shape (persona,), bool, optional
        Personas whose responses may be weighed, all or none of those that specify the same attributes; by default all.

    Notes
    -----
    For contrast t in context s it is the sum over combinations x of share(x | s) [response(s, x, treated) -
    response(s, x, baseline)], over what the estimand holds fixed, as far as personas state it, among people of all
    levels of the treated attribute; combinations with fewer than attrs `min_cell` respondents in an arm do not count,
    as in the estimate. For the estimand association each arm has shares of its own: the difference of two mixtures.
    Where a lattice is cut and cannot state all, it is the mean over all choices of as many attributes as it can.
    """
    stated = _Stated.by(cube, there)
    held = held_fixed(cube)
    like = held is not None
    fixed = {a: frozenset(names & _names(stated.lattice)) for a, names in (held or {}).items()}
    association = cube.attrs.get("estimand") == "association"
    rows = _edges(cube, stated, json.loads(cube.attrs["modifiers"]) if like else None)
    n = cube["n"].values
    patterns: dict[frozenset[int], Pattern] = {}
    in_country = []
    for c in range(len(n)):
        asked = _asked(stated, n[c]) if like else frozenset()
        if asked not in patterns:
            patterns[asked] = _differences(stated, rows, fixed, asked, association=association)
        in_country.append(patterns[asked])
    share = cube["share"].values if like else np.full(n.shape, np.nan)
    min_cell = int(cube.attrs.get("min_cell", 0)) if like and not association else 0
    return Functional(rows, in_country, share, n, min_cell, like)


def mixture_functional(cube: xr.Dataset, there: np.ndarray | None = None) -> Functional:
    """Give the share-weighted mixture of the finest personas that each persona consists of.

    Parameters are those of `effect_functional`; the rows of the finest personas, and all rows of a cube without
    `share`, are empty. Where the lattice is cut, a row is the mean over all choices of finest personas.
    """
    stated = _Stated.by(cube, there)
    n = cube["n"].values
    share = cube["share"].values if "share" in cube else np.full(n.shape, np.nan)
    rows = np.arange(cube.sizes["persona"])
    patterns: dict[frozenset[int], Pattern] = {}
    in_country = []
    for c in range(len(n)):
        asked = _asked(stated, n[c])
        if asked not in patterns:
            patterns[asked] = _mixtures(stated, asked)
        in_country.append(patterns[asked])
    return Functional(rows[:, None], in_country, share, n, 0, "share" in cube)


def effects_of(response: np.ndarray, functional: Functional, like: xr.Dataset) -> dict[str, np.ndarray]:
    """Derive shifts and effects from responses.

    Parameters
    ----------
    response : numpy.ndarray, shape (country, value, persona, option)
        Missing where a persona has none.
    functional : Functional
        From `effect_functional`.
    like : xarray.Dataset
        The cube that it is of, for contrasts and scales.

    Returns
    -------
    dict
        ``shift`` (country, attribute, value, persona, option), ``effect`` and ``status`` without the last dimension: ok
        where a shift is known, too_few where no share tells whom it is about, failed where a response is missing.
    """
    found, known = functional.apply(response)
    return at_edges(found, known, functional.rows, like)


def at_edges(found: np.ndarray, known: np.ndarray, rows: np.ndarray, like: xr.Dataset) -> dict[str, np.ndarray]:
    """Lay shifts out as a cube has them, and derive effects and status; parameters and result as of `effects_of`.

    Parameters
    ----------
    found : numpy.ndarray, shape (country, value, rows, option)
    known : numpy.ndarray, shape (country, value, rows), bool
        Whether it is known whom the shift is about.
    rows : numpy.ndarray, shape (rows, 4)
        See `Functional`.
    """
    shift = laid_out(found, rows, like, np.nan)
    effect = np.full(shift.shape[:-1], np.nan)
    told = np.select([np.isfinite(found[..., 0]), known], [schema.OK, schema.FAILED], schema.TOO_FEW)
    scales = zip(like["n_options"].values.tolist(), like["scale"].values.tolist(), strict=True)
    for v, (n_options, scale) in enumerate(scales):
        if scale != "nominal":
            effect[:, :, v] = shift[:, :, v, :, :n_options] @ schema.scores(n_options)
    status = laid_out(told.astype(np.int8), rows, like, schema.NOT_APPLICABLE)
    return {"shift": shift, "effect": effect, "status": status}


def laid_out(numbers: np.ndarray, rows: np.ndarray, like: xr.Dataset, empty: float) -> np.ndarray:
    """Lay numbers, shape (country, value, rows, ...), out along country, attribute, value and persona (the context)."""
    n_country, n_value, _, *more = numbers.shape
    shape = (n_country, like.sizes["attribute"], n_value, like.sizes["persona"], *more)
    whole = np.full(shape, empty, dtype=numbers.dtype)
    contrast, context = rows[:, :2].T
    # the two index arrays stand apart, so numpy puts the edges first
    whole[:, contrast, :, context] = np.moveaxis(numbers, 2, 0)
    return whole


def held_fixed(cube: xr.Dataset) -> dict[str, frozenset[str]] | None:
    """Name what the estimand holds fixed per treated attribute, covariates too; None where the cube has no shares.

    For association: what the arms' mixtures are over.
    """
    attrs: dict[Any, Any] = cube.attrs
    if "share" not in cube or not {"estimand", "adjustment", "modifiers"} <= set(attrs):
        return None
    names = _names(lattice_of(cube))
    adjustment, modifiers = (json.loads(attrs[name]) for name in ("adjustment", "modifiers"))
    return {
        name: frozenset((*(names if attrs["estimand"] == "association" else ()), *modifiers[name], *adjustment[name]))
        - {name}
        for name in modifiers
    }


def not_stated(cube: xr.Dataset, there: np.ndarray | None = None) -> dict[str, tuple[tuple[str, ...], int, int]]:
    """Say what the functional does not hold fixed although people's estimate does.

    Returns
    -------
    dict
        By treated attribute, where there is anything: the names (sorted) that no persona states; how many of the
        lattice's attributes are held fixed in the context ``all``; and how many should be.
    """
    stated, found = _Stated.by(cube, there), {}
    if cube.attrs.get("estimand") == "association":
        return {}
    names = [attribute.name for attribute in stated.lattice.attributes]
    for treatment, fixed in (held_fixed(cube) or {}).items():
        free = frozenset(names.index(name) for name in fixed if name in names)
        unknown = tuple(sorted(fixed - set(names)))
        choices = stated.choices(frozenset([names.index(treatment)]), free)
        most = len(choices[0]) if choices else 0
        if unknown or most < len(free):
            found[treatment] = (unknown, most, len(free))
    return found


def _edges(cube: xr.Dataset, stated: _Stated, modifiers: dict[str, list[str]] | None) -> np.ndarray:
    """Find the cube's edges, as positions in the cube; contexts that the estimand does not know fall out."""
    lattice = stated.lattice
    contrasts = {label: i for i, label in enumerate(cube["attribute"].values.tolist())}
    codes = {tuple(row): i for i, row in enumerate(lattice.codes.tolist())}
    place = {codes[key]: position for key, position in stated.position.items()}
    names = [attribute.name for attribute in lattice.attributes]
    found = []
    for contrast, *personas in lattice.edges.tolist():
        label, context = lattice.contrast_labels[contrast], lattice.codes[personas[0]].tolist()
        treatment = names[lattice.contrasts[contrast].attribute]
        known = modifiers is None or {names[a] for a in _specified(context)} <= set(modifiers[treatment])
        if label in contrasts and known and all(p in place for p in personas):
            found.append([contrasts[label], *(place[p] for p in personas)])
    return np.array(found, dtype=np.int64).reshape(-1, 4)


def _differences(
    stated: _Stated,
    rows: np.ndarray,
    fixed: dict[str, frozenset[str]],
    asked: frozenset[int],
    *,
    association: bool,
) -> Pattern:
    names = [attribute.name for attribute in stated.lattice.attributes]
    of = {position: codes for codes, position in stated.position.items()}
    choices: list[tuple[int, list[tuple[int, int, int, int]]]] = []
    for row, (_, context, low, high) in enumerate(rows.tolist()):
        ends = of[low], of[high]
        (treated,) = _specified(ends[0]) - _specified(of[context])
        held = frozenset(names.index(name) for name in fixed.get(names[treated], ())) & asked
        for extra in stated.choices(_specified(ends[0]), held - _specified(ends[0])):
            terms = []
            for levels in stated.levels_of(extra):
                at = [p for codes in (of[context], *ends) if (p := stated.at(codes, levels)) is not None]
                if len(at) == 3:
                    for arm, column in enumerate(at[1:]):
                        by = -1 if not extra else column if association else at[0]
                        terms.append((arm, column, by, at[2 - arm]))
            choices.append((row, terms))
    return Pattern.of(choices)


def _mixtures(stated: _Stated, asked: frozenset[int]) -> Pattern:
    choices: list[tuple[int, list[tuple[int, int, int, int]]]] = []
    for codes, row in stated.position.items():
        base = _specified(codes)
        for extra in stated.choices(base, asked - base):
            finer = [p for levels in stated.levels_of(extra) if (p := stated.at(codes, levels)) is not None]
            if extra:
                choices.append((row, [(1, p, p, p) for p in finer]))
    return Pattern.of(choices)


def _asked(stated: _Stated, n: np.ndarray) -> frozenset[int]:
    """Find the attributes that anybody in a country was asked; n has shape (value, persona)."""
    some = n.sum(axis=0)
    found = {a for codes, p in stated.position.items() if some[p] for a in _specified(codes)}
    return frozenset(found)


def _specified(codes: Sequence[int]) -> frozenset[int]:
    return frozenset(a for a, code in enumerate(codes) if code >= 0)


def _names(lattice: Lattice) -> frozenset[str]:
    return frozenset(attribute.name for attribute in lattice.attributes)
