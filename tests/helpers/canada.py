"""The Canadian Election Study of `oracles.export` through a codebook, and cubes of it held against R."""

from __future__ import annotations

import json

import numpy as np

from acecausal.cube.schema import OK
from acecausal.survey.codebook import Codebook


def canadian(population: str, **more: object) -> Codebook:
    """Say what the columns of `oracles.export.canada` mean; `more` adds parts, or takes them away by None."""

    def levels(*names):
        return {name: {"codes": [code], "label": name} for code, name in enumerate(names)}

    def attribute(column, label, *names):
        return {"column": column, "label": label, "baseline": names[0], "levels": levels(*names)}

    return Codebook.model_validate(
        {
            "codebook": 1,
            "name": "ces",
            "title": "Canadian Election Study 2011",
            "source": "carData::CES11",
            "licence": "GPL",
            "countries": {"column": "country", "levels": {"CA": {"codes": ["CA"], "label": "Canada"}}},
            "weight": {"column": "weight"},
            "stratum": {"column": "stratum"},
            "psu": {"column": "psu"},
            "fpc": {"column": population},
            **more,
            "attributes": {
                "gender": attribute("female", "gender", "male", "female"),
                "education": attribute("degree", "education", "none", "degree"),
            },
            "values": {
                "religion": {
                    "column": "option",
                    "question": "How important is religion to you?",
                    "topic": "religion",
                    "scale": "ordinal",
                    "options": [{"label": str(k), "codes": [k]} for k in (1, 2, 3, 4)],
                }
            },
        }
    )


def close(cube, variable: str, oracle, **where) -> None:
    found = cube[variable].sel(**where).values
    np.testing.assert_allclose(found[: np.size(oracle)] if found.ndim else found, oracle, rtol=1e-6, err_msg=variable)


def hold(cube, oracle, country: str, value: str, education: str, personas: dict[str, str]) -> None:
    """Hold a cube of plain differences against the oracle: shares in three personas, shifts, effects."""
    at = {"country": country, "value": value}
    for quantity, persona in personas.items():
        close(cube, "response", oracle[quantity]["estimate"], **at, persona=persona)
        close(cube, "response_se", np.sqrt(np.diag(oracle[quantity]["covariance"])), **at, persona=persona)
    shift, spread = (np.array(oracle["shift_female"][part]) for part in ("estimate", "covariance"))
    below = np.tril(np.ones((len(shift), len(shift))))[:-1]
    edge = {**at, "attribute": "gender:female", "persona": "all"}
    close(cube, "shift", shift, **edge)
    close(cube, "shift_se", np.sqrt(np.diag(spread)), **edge)
    close(cube.isel(option=slice(0, -1)), "cumulative_shift_se", np.sqrt(np.diag(below @ spread @ below.T)), **edge)
    edges = {"effect_female": edge, "effect_degree_women": {**at, "attribute": education, "persona": "gender=female"}}
    for quantity, where in edges.items():
        assert cube["status"].sel(**where) == OK
        close(cube, "effect", oracle[quantity]["estimate"][0], **where)
        close(cube, "effect_se", np.sqrt(oracle[quantity]["covariance"][0][0]), **where)
    df = json.loads(cube.attrs["design"])["degrees_of_freedom"]
    assert df[country] == oracle["degrees_of_freedom"]
