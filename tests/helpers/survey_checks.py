"""What every survey that was read must be, whatever the file."""

from __future__ import annotations

import numpy as np

from acecausal.survey.data import Survey


def sound(survey: Survey) -> None:
    """Hold a survey against what later steps take for granted: there are rows, and only numbers that are some."""
    book, n = survey.codebook, len(survey.country)
    assert n, "success with nothing in it"
    assert np.isfinite(survey.weight).all()
    assert (survey.weight >= 0).all()
    assert (survey.weight[slice(None) if survey.inside is None else survey.inside] > 0).all()
    sizes = [(survey.country, len(book.countries.levels))]
    sizes += [(codes, len(book.attributes[name].levels)) for name, codes in survey.attributes.items()]
    sizes += [(codes, len(book.values[name].options)) for name, codes in survey.values.items()]
    for codes, size in sizes:
        assert codes.shape == (n,)
        assert codes.dtype.kind == "i"
        assert codes.min() >= -1
        assert codes.max() < size
    for numbers in survey.covariates.values():
        assert numbers.shape == (n,)
        assert not np.isinf(numbers).any()
    assert all(count > 0 for count in survey.lost.values())
