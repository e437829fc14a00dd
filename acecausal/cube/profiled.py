"""Whose effects a model's cube holds by profiles: real people of a survey, as whom it was asked."""

from __future__ import annotations

import json
from typing import Any

import xarray as xr

#: What a cube's attrs call effects that were asked as profiles.
BY_PROFILES = "like for like, by profiles"
#: What decides whom people's effects average over, and what they hold fixed.
_DECIDES = ("data_sha256", "estimand", "adjustment", "modifiers", "min_cell")


def profiles_of(human: xr.Dataset) -> dict[str, Any]:
    """Say, for a model cube's attrs ``profiles_of``, whose effects people's cube holds, and what is fixed in them."""
    told = {name: human.attrs[name] for name in _DECIDES if name in human.attrs}
    return {name: item if isinstance(item, str) else float(item) for name, item in told.items()}


def by_profiles(human: xr.Dataset, model: xr.Dataset) -> bool:
    """Whether a model's effects are by profiles, and those of this cube of people."""
    told = json.loads(model.attrs.get("profiles_of", "{}"))
    return bool(told) and told == profiles_of(human)


def untold(model: xr.Dataset) -> dict[str, list[str]]:
    """Name by treated attribute what people's effects hold fixed and the model's profiles could not be told."""
    return dict(json.loads(model.attrs.get("profiles_untold", "{}")))
