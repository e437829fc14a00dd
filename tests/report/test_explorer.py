"""The explorer's data are the cube's arrays, for as many contexts as there is room for."""

from __future__ import annotations

import base64
import json

import numpy as np
from report_cubes import make_value, model_cube, survey_cube

from acecausal.cube import schema
from acecausal.report import explorer


def unpacked(data, name):
    packed = data["arrays"][name]
    raw = base64.b64decode(packed["data"])
    return np.frombuffer(raw, dtype=f"<{packed['type']}").reshape(packed["shape"])


def test_explorer__arrays_are_the_cubes():
    """Every number in single precision, exactly; statuses and numbers of people as they are."""
    human = survey_cube(3)
    model = model_cube(human, 0.4)
    data = json.loads(str(explorer.content(human, {"m": model})))
    contexts = [key for key, _ in data["labels"]["context"]]
    part = human.sel(persona=contexts)
    for name, variable in (("estimate", "effect"), ("q_value", "q_value")):
        np.testing.assert_array_equal(unpacked(data, name), part[variable].values.astype("f4"))
    for name in ("n_baseline", "n_treated"):
        np.testing.assert_array_equal(unpacked(data, name), part[name].values)
    ends = np.stack([unpacked(data, "conf_low"), unpacked(data, "conf_high")], -1)
    np.testing.assert_array_equal(ends, part["effect_interval"].values.astype("f4"))
    drawn = human.sel(persona=[key for key, _ in data["labels"]["persona"]])
    for v, k in enumerate(human["n_options"].values):
        mean = drawn["response"].values[:, v, :, :k] @ schema.scores(int(k))
        np.testing.assert_allclose(unpacked(data, "mean")[:, v], mean, rtol=1e-6)
    np.testing.assert_array_equal(unpacked(data, "n"), drawn["n"].values)
    np.testing.assert_array_equal(unpacked(data, "m0"), model["effect"].sel(persona=contexts).values.astype("f4"))


def test_explorer__shows_answers_where_there_is_no_score():
    """Only where nobody answered anything is there nothing to look at."""
    nominal = survey_cube(2, [make_value(0, scale="nominal")])
    data = json.loads(explorer.content(nominal, {}))
    assert data["scored"] == [False]
    assert set(np.unique(unpacked(data, "status"))) == {schema.NOT_APPLICABLE, schema.TOO_FEW, len(schema.STATUS)}
    assert explorer.content(nominal.assign(response=nominal["response"] * np.nan), {}) is None


def test_explorer__few_contexts_if_there_are_many_cells():
    human = survey_cube(2)
    each = human.sizes["country"] * human.sizes["attribute"] * human.sizes["value"]
    everything = explorer.chosen_contexts(human, each * human.sizes["persona"])
    assert human["granularity"].values[everything].max() == 1  # personas of two leave no attribute open
    assert explorer.chosen_contexts(human, each).tolist() == [0]
