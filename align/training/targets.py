"""Training targets: what a survey cube says about one question in one country, as tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import xarray as xr

from acecausal.comparison import holdout
from acecausal.comparison.compare import MIN_RESPONDENTS
from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.functional import Functional, effect_functional, effects_of, mixture_functional
from acecausal.cube.lattice import Lattice
from acecausal.errors import CubeError, unknown
from acecausal.estimation.shrinkage import shrink_responses, shrink_shifts
from align.training.margins import Margins

#: What the targets are taken from: the cube's estimates, their empirical-Bayes versions, or plain subgroup shares and
#: their differences, every cell weighing the same (as in published protocols).
SOURCES = ("raw", "shrunk", "association")

#: No shift counts as known better than this (standard error, in probability).
SE_FLOOR = 0.01
#: How much more than its own respondents a shrunk cell may count for.
MOST_GAIN = 100.0


@dataclass(frozen=True, slots=True)
class Target:
    """One lattice: the responses and shifts of one value in one country.

    Attributes
    ----------
    country, value : int
        Positions in the cube.
    personas : torch.Tensor, shape (asked,), int64
        Positions of the personas that some number below is about; the only ones that a model need be asked.
    response : torch.Tensor, shape (asked, options)
        0 where too few answered.
    weight : torch.Tensor, shape (asked,)
        Effective sample size (that the shrunk version's error amounts to, or 1 for associations); 0 where too few
        answered.
    functional : torch.Tensor, shape (edges, asked)
        Takes responses to the shifts of the estimated edges (see `acecausal.cube.functional`).
    transform : torch.Tensor, shape (options, d)
        Takes options to what distributions and shifts are compared on: cumulative probabilities (ordinal, binary), or
        the options themselves (nominal).
    shift : torch.Tensor, shape (edges, d)
    precision : torch.Tensor, shape (edges,)
        One over the mean squared standard error of the shift; 1 for associations.
    apart : torch.Tensor, shape (coarse, asked)
        Takes responses to what those to coarse personas are off the mixtures of the finest; no rows unless wanted.
    known : torch.Tensor, shape (margins, options)
        Responses known of what is held out, or to be kept (see `align.training.margins`); no rows unless given.
    mixed : torch.Tensor, shape (margins, asked)
        Takes responses to theirs: of the persona itself, or the mixture of the finest in it.
    """

    country: int
    value: int
    personas: torch.Tensor
    response: torch.Tensor
    weight: torch.Tensor
    functional: torch.Tensor
    transform: torch.Tensor
    shift: torch.Tensor
    precision: torch.Tensor
    apart: torch.Tensor
    known: torch.Tensor
    mixed: torch.Tensor

    def to(self, device: torch.device) -> Target:
        """Copy the tensors to a device."""
        tensors = {f.name: part for f in fields(self) if isinstance(part := getattr(self, f.name), torch.Tensor)}
        return replace(self, **{name: part.to(device) for name, part in tensors.items()})


def some(target: Target, most: int, rng: np.random.Generator) -> Target:
    """Draw some of a target's personas: those of margins, edge by edge those of whole shifts, others for their levels.

    Parameters
    ----------
    target : Target
    most : int
        Most personas; a target of no more is given back as it is.
    rng : numpy.random.Generator

    Returns
    -------
    Target
        Of `most` personas, with the margins, the edges, and the distances of coarse personas from mixtures, that these
        suffice for. A target that has margins alone stays whole.
    """
    n, margins, edges = len(target.personas), len(target.mixed), len(target.functional)
    if n <= most or (margins and not edges and not target.weight.any()):
        return target
    rows = torch.cat([target.mixed, target.functional, target.apart]).cpu().numpy() != 0
    chosen = np.zeros(n, dtype=bool)
    for row in (*range(margins), *(margins + rng.permutation(len(rows) - margins))):
        if (chosen | rows[row]).sum() <= most:
            chosen |= rows[row]
    others = rng.permutation(np.flatnonzero(~chosen))
    chosen[others[: most - chosen.sum()]] = True
    whole = torch.from_numpy((rows <= chosen).all(axis=1)).to(target.personas.device)
    at = torch.from_numpy(np.flatnonzero(chosen)).to(target.personas.device)
    held, moved, coarse = whole[:margins], whole[margins : margins + edges], whole[margins + edges :]
    return replace(
        target,
        personas=target.personas[at],
        response=target.response[at],
        weight=target.weight[at],
        functional=target.functional[moved][:, at],
        shift=target.shift[moved],
        precision=target.precision[moved],
        apart=target.apart[coarse][:, at],
        known=target.known[held],
        mixed=target.mixed[held][:, at],
    )


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What targets are cut from, in the cube's dimension order; NaN, or weight 0, where there is none.

    `weight` (country, value, persona); `precision` (country, attribute, value, persona).
    """

    response: np.ndarray
    weight: np.ndarray
    shift: np.ndarray
    precision: np.ndarray


def make_targets(
    cube: xr.Dataset,
    held_out: holdout.HoldOut | None = None,
    source: str = "raw",
    *,
    coherence: bool = False,
    margins: Margins | None = None,
) -> list[Target]:
    """Cut a survey cube into lattices, without what is held out.

    Parameters
    ----------
    cube : xarray.Dataset
        A survey cube.
    held_out : dict, optional
        No number of a held-out cell enters: the empirical-Bayes versions are computed anew without them.
    source : {'raw', 'shrunk', 'association'}
        See `SOURCES`. Associations are differences of two personas, as published; the shifts of the others are under
        the cube's estimand, from personas that are not held out (of those that specify the same attributes).
    coherence : bool
        Ask for what the objective `coherence` needs too: all personas with a share, also those of held-out lattices,
        since nobody's answers enter.
    margins : Margins, optional
        Responses that are known all the same, or to be kept.

    Raises
    ------
    CubeError
        If it is not a survey cube, or nothing is left.
    """
    if cube.attrs["kind"] != "survey":
        raise CubeError("is a model's cube", param="--cube", expected="a survey cube")
    held_out = held_out or {}
    numbers = _numbers(cube, holdout.masks(held_out, cube), source, cubes.lattice_of(cube))
    functional = _functional(cube, held_out, source)
    mixture = mixture_functional(cube) if coherence or margins else None
    targets = [
        target
        for c in range(cube.sizes["country"])
        for v in range(cube.sizes["value"])
        if (target := _target(cube, numbers, c, v, functional, mixture, coherence=coherence, margins=margins))
        is not None
    ]
    if not targets:
        raise CubeError("nothing to train on", param="--cube", hint="hold out less, or estimate with a smaller min_arm")
    return targets


def left_out(cube: xr.Dataset, held_out: holdout.HoldOut, source: str = "raw") -> dict[str, dict[str, int]]:
    """Count the responses and edges that no target is made of, by reason."""
    response, effect = holdout.masks(held_out, cube)
    contrast, context, low, high = cubes.lattice_of(cube).edges.T
    status = cube["status"].values[:, contrast, :, context]
    held = effect[:, contrast, :, context]
    weighed = effects_of(np.zeros(cube["response"].shape), _functional(cube, held_out, source), cube)["status"]
    few = cube["n"].values < MIN_RESPONDENTS
    if source == "association":  # needs no estimate, but people at both ends
        status = np.moveaxis(np.where(few[:, :, low] | few[:, :, high], schema.TOO_FEW, schema.OK), 2, 0)
    told = (weighed == schema.OK)[:, contrast, :, context]
    unweighed = int(((status == schema.OK) & ~told & ~held).sum())
    return {
        "responses": {"held_out": int(response.sum()), "too_few": int((few & ~response).sum())},
        "edges": {
            "held_out": int(held.sum()),
            **{
                name: int(((status == code) & ~held).sum())
                for code, name in enumerate(schema.STATUS)
                if code != schema.OK and ((status == code) & ~held).any()
            },
            **({"no_shares": unweighed} if unweighed else {}),
        },
    }


def _functional(cube: xr.Dataset, held_out: holdout.HoldOut, source: str) -> Functional:
    """Give the functional of the shifts, without personas that are held out in every country."""
    if source == "association":
        return effect_functional(cube.drop_vars("share", errors="ignore"))
    of_personas = {dim: labels for dim, labels in held_out.items() if dim in ("granularity", "attributes")}
    seen = cube.assign(n=cube["n"].where(~holdout.masks(held_out, cube)[0], 0))  # who answered what is held out
    return effect_functional(seen, ~holdout.masks(of_personas, cube)[0][0, 0])


def _numbers(cube: xr.Dataset, held: tuple[np.ndarray, np.ndarray], source: str, lattice: Lattice) -> _Numbers:
    response = np.where(held[0][..., None], np.nan, cube["response"].values)
    answered = (cube["n"].values >= MIN_RESPONDENTS) & ~held[0]
    weight = np.where(answered, cube["n_eff"].values, 0.0)
    known = (cube["status"].values == schema.OK) & ~held[1]
    shift = np.where(known[..., None], cube["shift"].values, np.nan)
    nominal = (cube["scale"].values == "nominal")[:, None, None]
    # the last cumulated shift is 0 for everybody
    se = np.where(nominal, cube["shift_se"].values, cube["cumulative_shift_se"].values)
    options = np.where(nominal[:, 0, 0], cube["n_options"].values, cube["n_options"].values - 1)
    squared = np.where(np.arange(se.shape[-1]) < options[:, None, None], se**2, 0.0).sum(axis=-1) / options[:, None]
    if source == "raw":
        return _Numbers(response, weight, shift, _precision(squared, known))
    if source == "shrunk":
        raw_se = np.where(known[..., None], cube["shift_se"].values, np.nan)
        effect_se = np.where(known, cube["effect_se"].values, np.nan)
        shift, shrunk_se, _ = shrink_shifts(shift, raw_se, effect_se, lattice)
        response, response_se = shrink_responses(response, cube["n_eff"].values, ~nominal[:, 0, 0], lattice)
        gain = _ratio(shrunk_se, raw_se)
        own = response * (1 - response) / np.maximum(cube["n_eff"].values, 1.0)[..., None]
        weight = weight / _ratio(response_se, np.sqrt(own))
        return _Numbers(response, weight, shift, _precision(squared * gain, known))
    if source == "association":
        contrast, context, low, high = lattice.edges.T
        shift, both = np.full_like(shift, np.nan), np.zeros(known.shape, dtype=bool)
        shift[:, contrast, :, context] = np.moveaxis(response[:, :, high] - response[:, :, low], 2, 0)
        both[:, contrast, :, context] = np.moveaxis(answered[:, :, high] & answered[:, :, low], 2, 0)
        return _Numbers(response, answered.astype(float), shift, both.astype(float))
    raise unknown("targets", source, SOURCES)


def _precision(squared: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.where(known, 1 / np.maximum(np.where(known, squared, 1.0), SE_FLOOR**2), 0.0)


def _ratio(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """By how much variances, summed over the options, became smaller; between 1 / MOST_GAIN and 1."""
    new, old = np.nansum(after**2, axis=-1), np.nansum(before**2, axis=-1)
    return np.clip(np.divide(new, old, out=np.ones_like(old), where=old > 0), 1 / MOST_GAIN, 1.0)


def _target(
    cube: xr.Dataset,
    numbers: _Numbers,
    country: int,
    value: int,
    functional: Functional,
    mixture: Functional | None,
    *,
    coherence: bool,
    margins: Margins | None,
) -> Target | None:
    n_options, scale = int(cube["n_options"][value]), str(cube["scale"].values[value])
    contrast, context = functional.rows[:, :2].T
    weight = numbers.weight[country, value]
    precision = numbers.precision[country, contrast, value, context]
    weights = functional.matrix(country, value).toarray()
    known = (precision > 0) & (weights != 0).any(axis=1)
    personas = np.eye(len(weight))
    mixtures = np.zeros_like(personas) if mixture is None else mixture.matrix(country, value).toarray()
    apart = (personas - mixtures)[(mixtures != 0).any(axis=1) & coherence]
    told, mixed = _margins(margins, mixtures, country, value, n_options)
    parts = (weights[known], apart, mixed)
    asked = np.flatnonzero((weight > 0) | np.any([(part != 0).any(axis=0) for part in parts], axis=0))
    if not asked.size:
        return None
    transform = np.eye(n_options) if scale == "nominal" else np.triu(np.ones((n_options, n_options)))[:, :-1]
    response = numbers.response[country, value, asked, :n_options]
    shift = numbers.shift[country, contrast, value, context][known][:, :n_options]
    tensor = torch.from_numpy
    return Target(
        country,
        value,
        personas=tensor(asked),
        response=tensor(np.where(weight[asked, None] > 0, response, 0.0)).float(),
        weight=tensor(weight[asked]).float(),
        functional=tensor(weights[known][:, asked]).float(),
        transform=tensor(transform).float(),
        shift=tensor(shift @ transform).float(),
        precision=tensor(precision[known]).float(),
        apart=tensor(apart[:, asked]).float(),
        known=tensor(told).float(),
        mixed=tensor(mixed[:, asked]).float(),
    )


def _margins(
    margins: Margins | None, mixtures: np.ndarray, country: int, value: int, n_options: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give known responses, shape (margins, options), and what of the personas each is of, shape (margins, personas).

    Each is told twice where shares say whom its persona consists of: of the persona itself, and of that mixture.
    """
    if margins is None:
        return np.empty((0, n_options)), np.empty((0, len(mixtures)))
    response = margins.response[country, value, :, :n_options]
    given = np.flatnonzero(np.isfinite(response).all(axis=1))
    whole = given[(mixtures[given] != 0).any(axis=1)]
    return response[[*given, *whole]], np.concatenate([np.eye(len(mixtures))[given], mixtures[whole]])
