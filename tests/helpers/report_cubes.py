"""Cubes a report can be made of, random numbers that keep the schema's rules; a hostile label; what a chart says."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.lattice import Attribute, Lattice, Level
from acecausal.report import svg

EVIL = '<script>alert("x")</script> "quoted" \'single\' & <img src=x onerror=alert(1)>'


def lattice(*, depth: int = 2, evil: str = "") -> Lattice:
    gender = Attribute(
        "gender", f"gender{evil}", (Level("male", "men", "a man"), Level("female", f"women{evil}", "a woman")), "male"
    )
    school = [Level(name, f"{name} school", f"{name} school") for name in ("low", "middle", "high")]
    return Lattice.over([gender, Attribute("school", "schooling", tuple(school), "low")], depth)


def make_value(
    number: int, *, options: int = 4, scale: str = "ordinal", question: str = "", option: str = ""
) -> cubes.Value:
    text = question or f"Question {number}: how much do you agree?"
    labels = tuple(f"{option}option {k + 1}" for k in range(options))
    return cubes.Value(f"v{number}", text, "topic", scale, labels)


def survey_cube(
    n_countries: int = 2,
    values: list[cubes.Value] | None = None,
    *,
    over: Lattice | None = None,
    status_all: int = schema.OK,
    label: str = "Country",
    seed: int = 0,
) -> xr.Dataset:
    """A survey cube of random numbers that keeps every rule of the schema."""
    rng = np.random.default_rng(seed)
    values = values or [make_value(0), make_value(1, options=3)]
    over = over or lattice()
    k = np.array([len(value.options) for value in values])
    sizes = (n_countries, len(values), len(over.personas), k.max())
    inside = np.arange(k.max()) < k[:, None]
    response = np.where(inside[:, None], rng.gamma(2, 1, sizes), np.nan)
    response /= np.nansum(response, -1, keepdims=True)
    n = rng.integers(30, 900, sizes[:3])
    arrays = model_arrays(response, values, over)
    edge = arrays["status"] == schema.OK
    arrays["status"][..., 0][edge[..., 0]] = status_all
    arrays["status"][0, 0, 0, 1:][edge[0, 0, 0, 1:]] = schema.TOO_FEW
    ok = arrays["status"] == schema.OK
    arrays["shift"][~ok], arrays["effect"][~ok] = np.nan, np.nan
    scored = np.isfinite(arrays["effect"])
    se = np.where(scored, rng.uniform(0.01, 0.2, ok.shape), np.nan)
    q = np.where(ok, rng.uniform(0, 0.2, ok.shape), np.nan)
    shift_se = np.where(np.isfinite(arrays["shift"]), 0.03, np.nan)
    arrays |= {
        "response_se": np.where(np.isfinite(response), 0.02, np.nan),
        "n": n,
        "n_eff": n.astype(float),
        "shift_se": shift_se,
        "cumulative_shift_se": shift_se,
        "shift_critical": np.where(ok, 2.5, np.nan),
        "effect_se": se,
        **{name: arrays[name.removesuffix("_shrunk")] for name in ("response_shrunk", "shift_shrunk", "effect_shrunk")},
        "response_shrunk_se": np.where(np.isfinite(response), 0.01, np.nan),
        "shift_shrunk_se": shift_se,
        "effect_shrunk_se": se,
        "effect_interval": np.stack([arrays["effect"] - 2 * se, arrays["effect"] + 2 * se], -1),
        "p_value": q / 2,
        "q_value": q,
        "n_baseline": rng.integers(0, 5000, ok.shape),
        "n_treated": rng.integers(0, 5000, ok.shape),
        "overlap": np.ones(ok.shape),
    }
    del arrays["option_mass"]
    countries = [cubes.Country(f"C{i}", f"{label} {i}", "somewhere") for i in range(n_countries)]
    attrs = {
        "title": f"Title {label}",
        "estimand": "direct",
        "seed": 3,
        "confidence": 0.95,
        "licence": "free",
        "lost": {"a": 1},
    }
    return cubes.build("survey", countries, values, over, arrays, attrs)


def model_arrays(response: np.ndarray, values: list[cubes.Value], over: Lattice) -> dict[str, np.ndarray]:
    n_countries, n_values, n_personas, width = response.shape
    shape = (n_countries, len(over.contrasts), n_values, n_personas)
    shift, effect = np.full((*shape, width), np.nan), np.full(shape, np.nan)
    status = np.full(shape, schema.NOT_APPLICABLE, dtype=np.int8)
    for contrast, context, low, high in over.edges:
        shift[:, contrast, :, context] = response[:, :, high] - response[:, :, low]
        status[:, contrast, :, context] = schema.OK
        for v, value in enumerate(values):
            if value.scale != "nominal":
                moved = shift[:, contrast, v, context, : len(value.options)]
                effect[:, contrast, v, context] = moved @ schema.scores(len(value.options))
    n = np.ones(response.shape[:3], dtype=int)
    mass = np.full(n.shape, 0.9)
    return {"response": response, "n": n, "option_mass": mass, "shift": shift, "effect": effect, "status": status}


def model_cube(human: xr.Dataset, mix: float) -> xr.Dataset:
    """A model that answers like people, mixed with the country's mean; its lattice is people's."""
    response = human["response"].values
    response = mix * response + (1 - mix) * response[:, :, :1]
    values, over = cubes.values_of(human), cubes.lattice_of(human)
    return cubes.build("model", cubes.countries_of(human), values, over, model_arrays(response, values, over), {})


def with_heed(model: xr.Dataset, heed: dict[str, float]) -> xr.Dataset:
    """The model's cube with this heed of every contrast, in every country and context."""
    shape = (model.sizes["country"], model.sizes["persona"], model.sizes["attribute"])
    rows = np.broadcast_to([heed[str(name)] for name in model["attribute"].values], shape)
    return model.assign(heed=(("country", "attribute", "persona"), np.moveaxis(rows, -1, 1).copy()))


def drawn_texts(spec: dict) -> list[tuple[str, str]]:
    """Texts of a chart with their fill, as vl-convert draws them."""
    return re.findall(r'<text[^>]*fill="([^"]*)"[^>]*>([^<]*)</text>', svg.render(spec, "x" * 30))
