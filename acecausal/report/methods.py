"""The methods paragraph, and the provenance table, from the cube's attrs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import xarray as xr

from acecausal.cube.doubts import strangers
from acecausal.report import words

_ESTIMANDS = {
    "direct": "direct effects: one attribute is changed, all other attributes and the covariates are held fixed",
    "total": "total effects: what backdoor identification on the declared graph asks to adjust for is adjusted for",
    "association": "associations: weighted differences of subgroup distributions, adjusted for nothing",
}

#: Attrs that are told elsewhere on the page, or tell a reader nothing.
_HIDDEN = {"Conventions", "lattice", "acecausal_schema_version"}


def paragraphs(cube: xr.Dataset) -> list[str]:
    """Write the methods as sentences that can be cited; what the attrs do not say is left out."""
    attrs = {str(name): decode(value) for name, value in cube.attrs.items()}
    parts = (_data(cube, attrs), _identification(attrs), _uncertainty(attrs), _software(attrs))
    return [text for text in (" ".join(part) for part in parts) if text]


def decode(value: Any) -> Any:
    """Read an attr back: JSON where it is an object or a list, itself otherwise."""
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _data(cube: xr.Dataset, attrs: Mapping[str, Any]) -> Iterator[str]:
    sizes = ", ".join(
        words.count(cube.sizes[dim], noun, plural)
        for dim, noun, plural in (
            ("country", "country", "countries"),
            ("value", "value", "values"),
            ("attribute", "contrast", "contrasts"),
            ("persona", "persona", "personas"),
        )
    )
    people = f"{attrs['respondents']:,} respondents" if isinstance(attrs.get("respondents"), int) else ""
    if added := strangers(cube):
        yield f"Data: {sizes}."
        yield (
            f"Of {words.join(map(words.clean, added))} neither source nor method is known: another program put them "
            f"beside the others, of which alone all that follows is said{f' ({people})' if people else ''}."
        )
    else:
        yield f"Data: {people}{'; ' if people else ''}{sizes}."
    if attrs.get("selection"):
        yield (
            f"This is a part of a cube ({attrs['selection']}); respondents, adjustment, degrees of freedom and the "
            "family of q are those of the whole cube."
        )
    if attrs.get("source"):
        yield f"Source: {str(attrs['source']).rstrip('.')}."
    if isinstance(attrs.get("rows"), dict) and attrs["rows"]:
        yield f"Rows: {'; '.join(f'{column} {meant}' for column, meant in attrs['rows'].items())}."
    if isinstance(attrs.get("domain"), dict) and attrs["domain"]:
        part = "; ".join(f"{column} {meant}" for column, meant in attrs["domain"].items())
        yield f"Domain: {part}; the whole sample's design stays."
    if attrs.get("labels_differ") not in (None, "", [], "[]"):
        yield f"Labels of the file that differ from the codebook's, overridden: {len(attrs['labels_differ'])}."
    if attrs.get("unverified"):
        yield f"Codes that the codebook marks as unverified: {', '.join(attrs['unverified'])}."
    if isinstance(attrs.get("lost"), dict):
        lost = "; ".join(f"{reason}: {number:,}" for reason, number in attrs["lost"].items())
        yield f"Rows or answers lost: {lost or 'none'}."
    if isinstance(attrs.get("noted"), dict) and attrs["noted"]:
        yield f"Noted: {'; '.join(f'{what}: {number:,}' for what, number in attrs['noted'].items())}."
    if attrs.get("licence"):
        yield f"Licence of the data: {str(attrs['licence']).rstrip('.')}."


def _identification(attrs: Mapping[str, Any]) -> Iterator[str]:
    estimand = attrs.get("estimand")
    if estimand:
        yield f"Estimand: {_ESTIMANDS.get(str(estimand), estimand)}. The effect is the change of the mean score, 0..1."
    graph = attrs.get("graph")
    if isinstance(graph, list) and graph:
        yield f"Assumed graph: {', '.join(f'{a} → {b}' for a, b in graph)}."
    adjustment = attrs.get("adjustment")
    if isinstance(adjustment, dict) and adjustment:
        held = "; ".join(f"{name}: {', '.join(held) or 'nothing'}" for name, held in adjustment.items())
        yield f"Adjusted for, by treated attribute: {held}."
    if attrs.get("estimator"):
        learners = attrs.get("nuisance", "linear")
        by = "" if learners == "linear" else f"; answers and arm predicted by {learners}"
        yield f"Estimator: {attrs['estimator']}{by}."


def _uncertainty(attrs: Mapping[str, Any]) -> Iterator[str]:
    if "weights" in attrs:
        yield f"Weights: {attrs['weights']}."
    design = attrs.get("design")
    if isinstance(design, dict):
        parts = (f"{str(key).replace('_', ' ')}: {_flat(text)}" for key, text in design.items())
        yield f"Design: {'; '.join(parts)}."
    if "confidence" in attrs:
        yield f"Intervals: {100 * float(attrs['confidence']):g} %."
    if "q_family" in attrs:
        yield f"q-values: Benjamini-Hochberg; the family is {attrs['q_family']}."
    if isinstance(attrs.get("sharpened"), dict):
        yield (
            f"Sharpened by a model's expectations as a control variate (lambda tuned in each cell, 0 where it does not "
            f"pay): {_flat(attrs['sharpened'])}."
        )
    if "min_arm" in attrs:
        yield f"A cell with fewer than {attrs['min_arm']} respondents in an arm is not estimated."


def _flat(text: object) -> str:
    """Write a mapping as a list, anything else as it is."""
    return ", ".join(f"{key} {part}" for key, part in text.items()) if isinstance(text, dict) else str(text)


def _software(attrs: Mapping[str, Any]) -> Iterator[str]:
    versions = attrs.get("versions")
    if isinstance(versions, dict):
        yield f"Software: {', '.join(f'{name} {number}' for name, number in versions.items())}."
    if "seed" in attrs:
        yield f"Seed: {attrs['seed']}."
    if "codebook" in attrs:
        digest = f" (SHA-256 {attrs['codebook_sha256']})" if "codebook_sha256" in attrs else ""
        yield f"Codebook: {attrs['codebook']}{digest}."
    if "data_sha256" in attrs:
        yield f"Data file: SHA-256 {attrs['data_sha256']}."
    if "created" in attrs:
        yield f"Cube made: {attrs['created']}."


def provenance(cube: xr.Dataset) -> list[tuple[str, str]]:
    """List the cube's attrs as they are."""
    return [
        (words.clean(name), words.clean(value)) for name, value in sorted(cube.attrs.items()) if name not in _HIDDEN
    ]
