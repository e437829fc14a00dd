"""What a model did not see: held-out countries, questions and personas, as text, as masks, as cube attribute."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence

import numpy as np
import xarray as xr

from acecausal.cube.files import lattice_of
from acecausal.errors import AceError, unknown

#: By what cells can be held out. `attributes` holds out every persona that specifies all of the attributes joined by +.
DIMENSIONS = ("country", "value", "topic", "granularity", "attributes")

#: From which similarity on (cosine of tf-idf word counts) two questions are near-duplicates.
NEAR_DUPLICATE = 0.8

#: A word, or one character of a script that is written without spaces.
_WORD = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+"

HoldOut = dict[str, list[str]]


def parse(texts: Sequence[str], cube: xr.Dataset, param: str = "--hold-out") -> HoldOut:
    """Read ``country=USA``, ``value=poverty,trust``, ``granularity=4`` or ``attributes=gender+age`` into a mapping.

    Raises
    ------
    AceError
        For another form, an unknown dimension or label, or a hold-out that leaves nothing.
    """
    held: HoldOut = {}
    for text in texts:
        dimension, equals, labels = text.partition("=")
        if not equals or not labels:
            raise AceError(
                "cannot be read", param=param, expected="country=LABEL[,LABEL], value=, topic=, granularity= or "
                "attributes=A+B", got=text,
            )  # fmt: skip
        if dimension not in DIMENSIONS:
            raise unknown(param, dimension, DIMENSIONS)
        for label in map(str.strip, labels.split(",")):
            listed = held.setdefault(dimension, [])
            checked = _checked(f"{param} {dimension}", dimension, label, cube)
            if checked not in listed:
                listed.append(checked)
    held = complete(held, cube)
    response = masks(held, cube)[0]
    if held and response.all():
        raise AceError("everything is held out", param=param, got=" ".join(texts))
    if held and not response.any():
        raise AceError("nothing is held out", param=param, got=" ".join(texts), hint="the cube has no such persona")
    return held


def complete(held: HoldOut, cube: xr.Dataset) -> HoldOut:
    """Hold out the near-duplicates of held-out values as well: otherwise their answers would be seen after all."""
    if not held.get("value") and not held.get("topic"):
        return held
    group = near_duplicates([str(question) for question in cube["question"].values])
    named = _values(held, cube)
    along = cube["value"].values[np.isin(group, group[named]) & ~named].astype(str).tolist()
    return {**held, "value": [*held.get("value", []), *along]} if along else held


def merged(one: HoldOut, other: HoldOut) -> HoldOut:
    """Hold out what either holds out."""
    dims = dict.fromkeys([*one, *other])
    return {dim: list(dict.fromkeys([*one.get(dim, []), *other.get(dim, [])])) for dim in dims}


def _checked(param: str, dimension: str, label: str, cube: xr.Dataset) -> str:
    attributes = [a.name for a in lattice_of(cube).attributes]
    if dimension == "attributes":
        parts = [part.strip() for part in label.split("+")]
        for part in parts:
            if part not in attributes:
                raise unknown(param, part, attributes)
        return "+".join(sorted(set(parts), key=attributes.index))
    known = [str(item) for item in dict.fromkeys(cube[dimension].values.tolist())]
    if label not in known:
        raise unknown(param, label, known)
    return label


def near_duplicates(questions: Sequence[str]) -> np.ndarray:
    """Number groups of questions that ask nearly the same, shape (questions,), int.

    Questions are near-duplicates if the cosine of their tf-idf word counts reaches `NEAR_DUPLICATE`; groups are closed
    under this. Words that all questions share count least, but a stem of many words can bind a whole battery.
    """
    from scipy.sparse.csgraph import connected_components
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(any(letter.isalnum() for letter in question) for question in questions):
        return np.arange(len(questions))
    words = TfidfVectorizer(token_pattern=_WORD, preprocessor=_spelled).fit_transform(questions)
    alike = (words @ words.T).toarray() >= NEAR_DUPLICATE
    return np.asarray(connected_components(alike, directed=False)[1])


def _spelled(question: str) -> str:
    return unicodedata.normalize("NFC", question).lower()


def masks(held: HoldOut, cube: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Say which cells are held out; any one held-out label suffices.

    Returns
    -------
    response : numpy.ndarray, shape (country, value, persona), bool
    effect : numpy.ndarray, shape (country, attribute, value, persona), bool
        An edge is held out if the response at either of its ends is.
    """
    country = np.isin(cube["country"].values.astype(str), held.get("country", []))
    value = _values(held, cube)
    lattice = lattice_of(cube)  # of which the cube may hold only a part
    persona = np.isin(lattice.granularity.astype(str), held.get("granularity", []))
    names = [a.name for a in lattice.attributes]
    for combination in held.get("attributes", []):
        if set(combination.split("+")) <= set(names):
            columns = [names.index(name) for name in combination.split("+")]
            persona |= (lattice.codes[:, columns] >= 0).all(axis=1)
    response = country[:, None, None] | value[None, :, None] | persona
    effect = np.zeros((len(country), len(lattice.contrasts), len(value), len(persona)), dtype=bool)
    contrast, context, low, high = lattice.edges.T
    # the two index arrays stand apart, so numpy puts the edges first
    effect[:, contrast, :, context] = np.moveaxis(response[:, :, low] | response[:, :, high], 2, 0)
    personas = [lattice.personas.index(str(label)) for label in cube["persona"].values]
    contrasts = [lattice.contrast_labels.index(str(label)) for label in cube["attribute"].values]
    return response[:, :, personas], effect[:, contrasts][..., personas]


def _values(held: HoldOut, cube: xr.Dataset) -> np.ndarray:
    """Say which values are held out by name or by topic, shape (value,), bool."""
    value = np.isin(cube["value"].values.astype(str), held.get("value", []))
    return np.asarray(value | np.isin(cube["topic"].values.astype(str), held.get("topic", [])))


def of(cube: xr.Dataset) -> HoldOut:
    """Read from a model cube what its adapter's training held out; empty if nothing did."""
    held: HoldOut = json.loads(cube.attrs.get("held_out", "{}"))
    return held


def in_words(held: HoldOut) -> str:
    """Write a hold-out for readers."""
    return "; ".join(f"{dim}: {', '.join(labels)}" for dim, labels in held.items()) or "nothing"
