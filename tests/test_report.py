"""The report: its numbers are the cube's, nothing in a label gets out of its text, and odd cubes give a whole page."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from acecausal import cube as cubes
from acecausal import schema
from acecausal.comparison import compare
from acecausal.errors import AceError, CubeError
from acecausal.estimation import estimate
from acecausal.lattice import Attribute, Lattice, Level
from acecausal.pooling import pooled
from acecausal.report import (
    cells,
    diagnostics,
    explorer,
    facts,
    finding,
    forest,
    heatmap,
    lattice_picture,
    output,
    overview,
    page,
    parts,
    responses,
    skills,
    svg,
    versus,
    words,
    world,
    write_report,
)
from acecausal.report import drawing as d
from acecausal.simulate import World, simulate

EVIL = '<script>alert("x")</script> "quoted" \'single\' & <img src=x onerror=alert(1)>'
VOID = {"meta", "link", "br", "hr", "img", "input"}


def lattice(*, depth: int = 2, evil: str = "") -> Lattice:
    gender = Attribute(
        "gender", f"gender{evil}", (Level("male", "men", "a man"), Level("female", f"women{evil}", "")), "male"
    )
    school = [Level(name, f"{name} school", "") for name in ("low", "middle", "high")]
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
    q = np.where(scored, rng.uniform(0, 0.2, ok.shape), np.nan)
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


class Page(HTMLParser):
    """What a browser makes of the page, as far as these tests look."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: content or "" for name, content in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: content or "" for name, content in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def csv(self, name: str) -> list[dict[str, str]]:
        (link,) = [a for a in self.all("a") if a.get("download") == name]
        head, _, body = link["href"].partition(",")
        assert head == "data:text/csv;charset=utf-8;base64"
        return list(csv.DictReader(io.StringIO(base64.b64decode(body).decode("utf-8"))))


def check_page(text: str) -> Page:
    """Hold what is true of every page: whole, self-contained, no script but its own, alternative text everywhere."""
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    for kind, script in re.findall(r"<script([^>]*)>(.*?)</script>", text, re.S):
        assert kind == ' type="application/json" id="explorer-data"' or explorer.digest(script) in policy
    assert "default-src 'none'" in policy
    assert len(re.findall("unsafe", policy)) == 1  # that of the style sheet
    text = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    read = Page(text)
    assert read.open == []
    names = {tag for tag, _ in read.tags}
    assert not names & {"script", "img", "iframe", "object", "embed", "link", "base", "foreignobject", "image", "use"}
    for _, attrs in read.tags:
        for name, content in attrs.items():
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href", "action", "poster", "srcset"}:
                assert content.startswith("data:text/csv")
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    assert not re.search(r"url\(|@import|https?:", style)
    assert not any("url(" in content for _, attrs in read.tags for content in attrs.values())
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 20 for attrs in read.all("svg"))
    assert len(read.all("figure")) == len(read.all("figcaption"))
    assert "NaN" not in text
    assert re.search(r"\bnan\b", re.sub(r"base64,[^\"]*", "", text)) is None
    return read


def test_write_report__numbers_equal_the_cubes(tmp_path):
    human = survey_cube()
    path = write_report(human, {}, tmp_path / "report.html")
    read = check_page(path.read_text("utf-8"))
    numbers = {"estimate": "effect", "std_error": "effect_se", "p_value": "p_value", "q_value": "q_value"}
    checked = 0
    for name, expected in (("effects.csv", human.sel(persona=["all"])), ("effects-all-contexts.csv", human)):
        rows = read.csv(name)
        assert len(rows) == int(np.isfinite(expected["effect"]).sum()) > 0
        assert len({(r["country"], r["contrast"], r["value"], r["context"]) for r in rows}) == len(rows)
        for row in rows:
            assert tuple(row) == facts.COLUMNS[:-1]  # all of them have status ok
            at = {
                "country": row["country"],
                "attribute": row["contrast"],
                "value": row["value"],
                "persona": row["context"],
            }
            cell = human.sel(at)
            for column, variable in numbers.items():
                assert float(row[column]) == float(cell[variable])
            assert [float(row["conf_low"]), float(row["conf_high"])] == cell["effect_interval"].values.tolist()
            assert [int(row["n_baseline"]), int(row["n_treated"])] == [int(cell["n_baseline"]), int(cell["n_treated"])]
            checked += 1
    assert checked == int(np.isfinite(human["effect"]).sum() + np.isfinite(human["effect"].sel(persona="all")).sum())
    for effect in human["effect"].sel(persona="all").values[np.isfinite(human["effect"].sel(persona="all").values)]:
        assert words.signed(effect, 3) in read.text


def test_write_report__every_picture_has_its_numbers(tmp_path):
    human = survey_cube(3)
    text = write_report(human, {"m": model_cube(human, 0.5)}, tmp_path / "r.html").read_text("utf-8")
    figures = re.findall(r"<figure(.*?)</figure>", text, re.S)
    assert len(figures) > 10
    for figure in figures:
        assert "<figcaption>" in figure
        assert 'class="numbers"' in figure
        assert "data-numbers" in figure or 'href="data:text/csv' in figure


def test_write_report__labels_stay_text(tmp_path):
    values = [make_value(i, question=f"{EVIL} {i}", option=EVIL) for i in range(2)]
    human = survey_cube(values=values, over=lattice(evil=EVIL), label=EVIL)
    read = check_page(write_report(human, {EVIL: model_cube(human, 0.5)}, tmp_path / "r.html").read_text("utf-8"))
    assert any('<script>alert("x")</script>' in text for text in read.text)
    assert any("onerror" in attrs["aria-label"] for attrs in read.all("svg"))


@pytest.mark.parametrize(
    "texts",
    [
        ("سؤال طويل عن القيم " * 15, "あなたは幸せですか、それとも" * 20, "x" * 300),
        ("\x00\x0b\u202eevil\ufffe", "", "{{ 7 * 7 }} {% raw %} %s \\"),
    ],
    ids=["long, right to left, wide", "control, empty, template"],
)
def test_write_report__any_text(texts, tmp_path):
    values = [make_value(i, question=text, option=text) for i, text in enumerate(texts)]
    human = survey_cube(1, values, over=lattice(depth=1, evil=texts[0]), label=texts[-1])
    raw = write_report(human, {}, tmp_path / "r.html").read_text("utf-8")
    check_page(raw)
    assert not set("\x00\x0b\u202e\ufffe") & set(raw)


def test_write_report__models(tmp_path):
    human = survey_cube(4)
    models = {"before": model_cube(human, 0.1), "after": model_cube(human, 0.9)}
    text = write_report(human, models, tmp_path / "r.html").read_text("utf-8")
    read = check_page(text)
    for label, model in models.items():
        slope = words.plain(compare(human, model)["effect"]["slope"])
        assert any(t.startswith(f"{label}: slope {slope}") for t in read.text)
    assert compare(human, models["after"])["effect"]["slope"] > 0.5


@pytest.mark.parametrize(
    "human",
    [
        survey_cube(1, [make_value(0, options=2, scale="binary"), make_value(1, options=11)], over=lattice(depth=1)),
        survey_cube(60, [make_value(0)], over=lattice(depth=1)),
        survey_cube(2, [make_value(0, scale="nominal")]),
        survey_cube(2, [make_value(0, scale="nominal"), make_value(1)], status_all=schema.TOO_FEW),
    ],
    ids=["one country", "60 countries", "nominal", "none in all"],
)
def test_write_report__odd_cubes(human, tmp_path):
    read = check_page(write_report(human, {"m": model_cube(human, 0.5)}, tmp_path / "r.html").read_text("utf-8"))
    ids = {attrs.get("id") for attrs in read.all("section")}
    assert {"effects", "map", "responses", "models", "numbers", "missing", "methods"} <= ids


def test_write_report__many_values_stay_small(tmp_path):
    human = survey_cube(14, [make_value(i) for i in range(240)])  # finer contexts: more than fit
    path = write_report(human, {}, tmp_path / "r.html")
    assert path.stat().st_size < 15e6
    read = check_page(path.read_text("utf-8"))
    assert any("4 of 240 values" in text for text in read.text)
    assert len(read.csv("effects.csv")) == int(np.isfinite(human["effect"].sel(persona="all")).sum())
    left_out = int(np.isfinite(human["effect"]).sum()) - len(read.csv("effects.csv"))
    assert left_out > page.ROWS_IN_CSV - len(read.csv("effects.csv"))
    assert any(f"{left_out:,} effects in finer contexts are left out" in text for text in read.text)


def test_write_report__refuses(tmp_path):
    human = survey_cube()
    with pytest.raises(CubeError, match="another kind"):
        write_report(model_cube(human, 0.5), {}, tmp_path / "r.html")
    with pytest.raises(CubeError, match="another kind"):
        write_report(human, {"m": human}, tmp_path / "r.html")
    with pytest.raises(CubeError, match="persona all: missing"):
        write_report(human.isel(persona=[1, 2]), {}, tmp_path / "r.html")
    with pytest.raises(CubeError, match="no values"):
        write_report(human.isel(value=[]), {}, tmp_path / "r.html")
    with pytest.raises(AceError, match="is a folder"):
        write_report(human, {}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_write_report__replaces_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    path.write_text("old")
    monkeypatch.setattr(page, "render", lambda human, models: "new")
    write_report(survey_cube(), {}, path)
    assert path.read_text() == "new"

    def broken(new, path):
        raise OSError("no room")

    monkeypatch.setattr(output, "replace", broken)
    with pytest.raises(OSError, match="no room"):
        write_report(survey_cube(), {}, path)
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize("sign", [1, -1])
def test_sentences__largest_effect(sign):
    human = survey_cube(3)
    for name in ("effect", "effect_interval", "shift"):
        human[name] = human[name] * sign
    human["effect_interval"] = human["effect_interval"].isel(bound=slice(None, None, sign))
    part = human.sel(persona="all")
    sure = np.abs(part["effect"].where(part["q_value"] < 0.05))
    country, attribute, value = np.unravel_index(np.nanargmax(sure.values), sure.shape)
    said = " ".join(finding.sentences(human))
    cell = part.isel(country=country, attribute=attribute, value=value)
    low, high = (words.signed(float(bound)) for bound in cell["effect_interval"])
    assert f"in Country {country}:" in said
    assert f"by {words.signed(float(cell['effect']))} (95 % interval {low} to {high})" in said
    n_sure, n_all = int((part["q_value"] < 0.05).sum()), int(part["effect"].notnull().sum())
    assert f"{n_sure} of {n_all} estimated effects" in said


@pytest.mark.parametrize(
    ("skill", "slope", "interval", "said"),
    [
        (0.9, 0.9, [0.7, 1.1], "moves much as people do"),
        (0.3, 0.5, [0.2, 0.8], "moves as people do in part"),
        (0.0004, -0.12, [-0.26, 0.01], "does not move as people do"),
        (0.2, -0.1, None, "does not move as people do"),
        (0.6, 1.5, [1.2, 1.8], "moves the same way as people, but further"),
        (3.8, 3.82, None, "cannot be judged well"),
        (0.5, None, None, "cannot be judged well"),
        (None, None, None, "cannot be judged"),
    ],
)
def test_verdicts__agree_with_their_numbers(skill, slope, interval, said):
    result = {"effect": {"skill": skill, "slope": slope, "slope_interval": interval}, "level": {"skill": 0.1}}
    (sentence,) = finding.verdicts({"name": result})
    assert sentence.startswith(f"Model “name” {said}")


def test_association__is_never_told_as_causal(tmp_path):
    human = survey_cube(2).assign_attrs(estimand="association")
    text = write_report(human, {}, tmp_path / "r.html").read_text("utf-8")
    shown = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    for phrase in ("causal only", "moves the mean", "moves answers", "move answers", "What moves", "typically moves"):
        assert phrase not in shown, phrase
    assert "adjusted for nothing: not causal" in shown
    causal = write_report(survey_cube(2), {}, tmp_path / "c.html").read_text("utf-8")
    assert "causal only under the graph" in causal


def test_distinct__what_is_read_differs():
    stem = "Does this country spend too much, too little or about the right amount on "
    texts = [f"{stem}{what}?" for what in ("the environment", "the military", "science")] + [
        "Are you happy?",
        "Are you happy?",
    ]
    made = words.distinct(texts, list("abcde"))
    assert made == ["…the environment?", "…the military?", "…science?", "d: Are you happy?", "e: Are you happy?"]
    assert words.distinct(["How are you?", "How old are you?"], ["a", "b"]) == ["How are you?", "How old are you?"]
    assert words.distinct([stem, stem + "x"], ["a", "b"])[0] == stem


def test_forest__panels_of_a_figure_share_their_axis():
    human = survey_cube(3)
    figure = forest.figure(human, 0, {}, contrasts=np.arange(3), countries=np.arange(3))
    domains = {
        json.dumps(layer["encoding"]["x"].get("scale"))
        for panel in figure.panels
        for layer in panel.wide["layer"]
        if "scale" in layer["encoding"].get("x", {}) and "domain" in layer["encoding"]["x"]["scale"]
    }
    assert len(domains) == 1
    pooled_rows = [row for row in figure.numbers.rows if row[0] == "pooled"]
    assert len(pooled_rows) == 3


def test_forest__cuts_the_prediction_interval_at_a_shared_axis():
    """Oracle: on an axis from -1 to 1, an interval that goes further is a dashed line over the plot but its padding."""
    row = {"estimate": 0.5, "conf_low": 0.4, "conf_high": 0.6, "q_value": 0.01, "why": "", "kind": "one", "y": 0}
    total = row | {"further_low": -9, "further_high": 9, "kind": "pooled", "label": "pooled", "y": 1}
    spec = d.fill(forest.chart(340, 74, (), (-1.0, 1.0)), rows=[row | {"label": "A"}, total])
    (dashed,) = re.findall(r"<line([^>]*stroke-dasharray[^>]*)>", svg.render(spec, "x" * 30))
    left, width = re.search(r"translate\(([-\d.]+),", dashed)[1], re.search(r'x2="([-\d.]+)"', dashed)[1]
    assert sorted([float(left), float(left) + float(width)]) == pytest.approx([8, 208], abs=0.5)


def test_forest__by_question_draws_one_contrast_country_by_country():
    human = survey_cube(3, [make_value(i) for i in range(3)])
    model = model_cube(human, 0.5)
    order = np.array([2, 0])
    figure = forest.by_question(human, 1, {"m": model}, values=order, countries=np.array([0, 2]))
    for panel, country in zip(figure.panels, ("C0", "C2"), strict=True):
        for row, value in zip(panel.wide["datasets"]["rows"], ("v2", "v0"), strict=True):
            cell = {"country": country, "value": value, "persona": "all", "attribute": human["attribute"].values[1]}
            assert (row["country"], row["value"]) == (country, value)
            assert row["m0"] == model["effect"].sel(cell).item()
            effect = human["effect"].sel(cell).item()
            assert row["estimate"] == effect or (row["estimate"] is None and np.isnan(effect))
    assert "Shown: 2 of 3 countries" in figure.caption


def test_overview__only_what_is_sure_is_coloured():
    human = survey_cube(2)
    human["q_value"] = human["q_value"].where(human["q_value"].isnull(), 0.5)
    rows = overview.figure(human, {}).panels[0].wide["datasets"]["rows"]
    assert {row["first"] for row in rows} == {False}
    assert {row["sure"] for row in rows} == {0}


def test_typical_effects__takes_the_noise_off():
    human = survey_cube(3)
    part = human.sel(persona="all")
    size = np.sqrt(max(float((part["effect"] ** 2 - part["effect_se"] ** 2)[:, 0].mean()), 0.0))
    assert finding.typical_effects(human)["gender"] == pytest.approx(size, rel=1e-12)


def test_by_evidence__smallest_p_first():
    human = survey_cube(5)
    p = human["p_value"].sel(persona="all").min(("attribute", "value")).values
    assert cells.by_evidence(human, "country").tolist() == np.argsort(p).tolist()
    assert cells.top(human, "country", 2).tolist() == sorted(np.argsort(p)[:2].tolist())


def test_render__same_data_same_drawing_and_no_outside():
    human = survey_cube()
    rows = forest.rows(facts.effects(human, attribute=[0], value=[0], persona=[0]), ["a", "b"])
    spec = d.fill(forest.chart(340, 100), rows=rows)
    drawn = svg.render(spec, 'a "quoted" <label>')
    assert drawn == svg.render(spec, 'a "quoted" <label>')
    assert "http" not in drawn
    assert 'aria-label="a &quot;quoted&quot; &lt;label&gt;"' in drawn
    assert "var(--accent" in drawn or "var(--muted" in drawn


def test_facts__are_the_cubes_cells_by_label():
    """Oracle: xarray's own selection, cell by cell; exact. A model that lacks a country has no number there."""
    human = survey_cube(3)
    human["status"].values[1, 0, 1, 0] = schema.FAILED
    human["effect"].values[1, 0, 1, 0] = np.nan
    model = model_cube(human, 0.4).isel(country=[2, 0])
    frame = facts.effects(human, {"m": model}, country=[2, 1], attribute=[0, 2], persona=[0, 1])
    assert len(frame) == 2 * 2 * human.sizes["value"] * 2
    for row in frame.itertuples():
        at = {"country": row.country, "attribute": row.contrast, "value": row.value, "persona": row.context}
        cell = human.sel(at)
        expected = [cell["effect"].item(), cell["q_value"].item(), *cell["effect_interval"].values]
        np.testing.assert_array_equal([row.estimate, row.q_value, row.conf_low, row.conf_high], expected)
        assert row.status == schema.STATUS[int(cell["status"])]
        other = model["effect"].sel(at).item() if row.country in model["country"].values else np.nan
        np.testing.assert_array_equal(row.m0, other)
    assert {"failed", "not_applicable", "ok"} == set(frame["status"])


def _drawn(spec: dict) -> list[tuple[str, str]]:
    """Texts of a chart with their fill, as vl-convert draws them."""
    return re.findall(r'<text[^>]*fill="([^"]*)"[^>]*>([^<]*)</text>', svg.render(spec, "x" * 30))


def test_forest__draws_the_cubes_numbers():
    human = survey_cube(3)
    frame = facts.effects(human, country=[2, 0], attribute=[2], value=[1], persona=[0])
    total = pooled(human).isel(attribute=2, value=1, persona=0)
    texts = [text for _, text in _drawn(d.fill(forest.chart(720, 100), rows=forest.rows(frame, ["C", "A"], total)))]
    for country in (2, 0):
        cell = human.isel(country=country, attribute=2, value=1, persona=0)
        low, high = cell["effect_interval"].values
        written = f"{cell['effect'].item():+.2f} [{low:+.2f}, {high:+.2f}]".replace("-", "−")
        assert written in [re.sub(r"\s+", " ", text) for text in texts]
    mean = f"{total['effect'].item():+.2f} [{total['lower'].item():+.2f}, {total['upper'].item():+.2f}]"
    assert mean.replace("-", "−") in [re.sub(r"\s+", " ", text) for text in texts]
    assert texts.index("C") < texts.index("A") < texts.index("pooled")


def test_forest__says_why_there_is_nothing():
    human = survey_cube(2)
    frame = facts.effects(human, attribute=[0], value=[0], persona=[0]).assign(status="too_few", estimate=np.nan)
    texts = [text for _, text in _drawn(d.fill(forest.chart(720, 100), rows=forest.rows(frame, ["A", "B"])))]
    assert texts.count("too few people in an arm") == 2


def test_heatmap__insignificant_cells_are_there_and_pale():
    human = survey_cube(2)
    frame = facts.effects(human, value=[0], persona=[0])
    rows = heatmap.rows(frame, words.Names(human), human, across="contrast")
    texts = _drawn(d.fill(heatmap.chart(3, 0.1, 100, 720, lines=2), rows=rows))
    shown = {text for fill, text in texts if re.fullmatch(r"[+−-]?\d\.\d\d", text)}
    assert shown == {f"{x:+.2f}".replace("-", "−") for x in frame["estimate"].dropna()}
    pale = [text for fill, text in texts if "--muted" in fill and re.fullmatch(r"[+−-]\d\.\d\d", text)]
    assert len(pale) == int((frame["q_value"] >= 0.05).sum()) > 0


def test_responses__draw_the_cubes_shares():
    """Segments have the shares' widths; an ordinal bar is balanced around its middle, a nominal one starts at 0."""
    human = survey_cube()
    frame = responses.table(human, 1, 0, [0, 2])
    rows = responses.rows(frame, ["everyone", "some"], 3, "ordinal")
    share = human["response"].values[0, 1, [0, 2], :3]
    np.testing.assert_allclose([row["high"] - row["low"] for row in rows], share.ravel(), atol=1e-12)
    np.testing.assert_allclose([rows[i]["low"] for i in (0, 3)], -(share[:, 0] + share[:, 1] / 2), atol=1e-12)
    nominal = responses.rows(frame, ["everyone", "some"], 3, "nominal")
    assert [nominal[i]["low"] for i in (0, 3)] == [0, 0]
    even = responses.rows(responses.table(human, 0, 0, [0]), ["everyone"], 4, "ordinal")
    assert even[1]["high"] == pytest.approx(0, abs=1e-12)  # four options: zero lies between the second and the third


def test_versus__every_edge_both_have():
    human = survey_cube()
    frame = versus.pairs(human, model_cube(human, 1.0).isel(country=[1, 0]))
    assert len(frame) == int(np.isfinite(human["effect"]).sum())
    assert frame["std_error"].is_monotonic_increasing
    at = dict(zip(schema.EDGE, frame.loc[3, ["country", "contrast", "value", "context"]], strict=True))
    assert frame.loc[3, "model"] == model_cube(human, 1.0)["effect"].sel(at).item()
    assert len(versus.pairs(human, model_cube(human, 1.0).isel(country=[1]))) < len(frame)


def test_versus__lines_stay_in_the_square():
    for slope in (0.3, -4.0, 0.0):
        ends = [(row["estimate"], row["model"]) for row in versus.lines(slope, -0.2, 0.2) if row["line"] == "slope"]
        for x, y in ends:
            assert y == pytest.approx(slope * x)
            assert max(abs(x), abs(y)) <= 0.2 + 1e-12
    assert [row["line"] for row in versus.lines(None, -1, 1)] == ["same", "same"]


def test_lattice__arcs_join_what_the_lattice_joins():
    """Oracle: the labels. An edge's two personas are its context with the baseline, and with the other level."""
    human = survey_cube(2)
    at = lattice_picture.places(human)
    assert at.depth == 2
    dots, arcs = lattice_picture.rows(human, at, 0, 1)
    assert len(arcs) == int((human["status"].values[1, :, 0] != schema.NOT_APPLICABLE).sum())
    persona = {(dot["column"], dot["row"]): dot["persona"] for dot in dots}
    assert len(persona) == len(dots) == human.sizes["persona"]
    for arc in arcs:
        low, high = (persona[arc["column"], arc[end]] for end in ("from", "to"))
        treatment, _, level = arc["contrast"].partition(":")
        context = set(arc["context"].split(",")) - {"all"}
        baseline = human["baseline"].sel(attribute=arc["contrast"]).item()
        assert set(low.split(",")) == context | {f"{treatment}={baseline}"}
        assert set(high.split(",")) == context | {f"{treatment}={level}"}
        cell = {"attribute": arc["contrast"], "persona": arc["context"]}
        np.testing.assert_array_equal(arc["estimate"], human["effect"].isel(country=1, value=0).sel(cell).item())
    score = human["response"].values[1, 0] @ schema.scores(4)
    np.testing.assert_allclose([dot["mean"] for dot in dots], score, atol=1e-12)


def test_lattice__numbers_beside_the_arcs_stay_clear_of_each_other():
    """No two of a column closer than ROOM, and none moved that had room: school's two arcs share their first end."""
    at = lattice_picture.places(survey_cube(2))
    column = at.column[at.edges[:, 2]]
    for one in np.unique(column):
        assert np.diff(np.sort(at.beside[column == one])).min() >= lattice_picture.ROOM - 1e-9
    np.testing.assert_allclose(lattice_picture._apart(np.zeros(3), np.array([5.0, 1.0, 3.0])), [5, 1, 3])
    room = lattice_picture.ROOM
    np.testing.assert_allclose(lattice_picture._apart(np.zeros(2), np.array([1.0, 1.0])), [1 - room / 2, 1 + room / 2])
    np.testing.assert_allclose(lattice_picture._apart(np.arange(2), np.array([1.0, 1.0])), [1, 1])


def table_of(table) -> pd.DataFrame:
    """Read the CSV behind a table of the page."""
    return pd.read_csv(io.BytesIO(base64.b64decode(table.csv.split(",")[1])))


def test_lattice__its_tables_hold_arcs_and_dots_of_people_and_models():
    human = survey_cube(2)
    model = model_cube(human, 0.5)
    figure = lattice_picture.figure(human, 0, 1, {"m": model})
    arcs = table_of(figure.numbers)
    assert len(figure.panels) == 2
    for row in arcs.itertuples(index=False):
        cell = {"country": row.country, "attribute": row.contrast, "value": row.value, "persona": row.context}
        found = [human["effect"].sel(cell).item(), model["effect"].sel(cell).item()]
        np.testing.assert_allclose([row.estimate, row[-1]], found, rtol=1e-14)
    ((_, dots),) = figure.more
    dots = table_of(dots)
    for cube, column in ((human, "mean score"), (model, "model: m")):
        score = cube["response"].values[1, 0] @ schema.scores(4)
        np.testing.assert_allclose(dots[column], score, rtol=1e-12)
    assert dots["persona"].tolist() == human["persona"].values.tolist()


def test_lattice__large_ones_are_cut_at_whole_granularities():
    many = Lattice.over(
        [Attribute(f"a{i}", f"a{i}", (Level("0", "no", ""), Level("1", "yes", "")), "0") for i in range(6)], 3
    )
    at = lattice_picture.places(survey_cube(1, [make_value(0)], over=many))
    assert (at.depth, len(at.personas)) == (1, 13)  # 6 attributes make 60 personas of two


def test_overview__sizes_and_slopes_by_hand():
    human = survey_cube(2)
    model = model_cube(human, 0.5)
    frame = overview.table(human, {"m": model}).set_index(["country", "attribute"])
    part, other = human.sel(persona="all"), model.sel(persona="all")
    for c, country in enumerate(human["country"].values):
        for name in ("gender", "school"):
            chosen = (part["treatment"] == name).values
            e, s, m = (a.values[c, chosen] for a in (part["effect"], part["effect_se"], other["effect"]))
            there = np.isfinite(e)
            excess = (e[there] ** 2 - s[there] ** 2).mean()
            row = frame.loc[country, name]
            assert row["people"] == pytest.approx(np.sqrt(max(excess, 0)), rel=1e-12)
            assert row["effects"] == there.sum()
            if excess > 0:
                slope = (e * m)[there].sum() / (e**2 - s**2)[there].sum()
                assert row["m0"] == pytest.approx(slope * row["people"], rel=1e-12)
            else:
                assert np.isnan(row["m0"])
            assert row["r0"] == pytest.approx(np.sqrt((m[there] ** 2).mean()), rel=1e-12)


def test_overview__a_pale_mark_where_people_give_nothing_to_follow():
    human = survey_cube(2)
    human["effect_se"] = human["effect_se"].where(human["treatment"] != "gender", 9.0)
    figure = overview.figure(human, {"a": model_cube(human, 0.5), "b": model_cube(human, 0.2)})
    drawn = figure.panels[0].wide
    rows = [row for row in drawn["datasets"]["rows"] if row["attribute"] == "gender"]
    assert all(row["m0"] is None and row["r0"] > row["r1"] > 0 for row in rows)
    marks = [layer["mark"]["opacity"] for layer in drawn["layer"] if layer["mark"].get("shape")]
    assert marks == [0.4, 0.4, 1, 1]


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_models__can_be_told_apart(n):
    """Marks differ in shape or filling, and the legend shows each of them."""
    shapes = [key[0] for key in parts.model_legend([f"m{i}" for i in range(n)])]
    assert len(set(shapes)) == n
    spec = forest.chart(700, 100, tuple(f"m{i}" for i in range(n)))
    marks = [layer for layer in spec["layer"] if layer["encoding"].get("x", {}).get("field", "").startswith("m")]
    drawn = [(layer["mark"]["shape"], layer["encoding"]["fill"]["value"] == d.PAPER) for layer in marks]
    assert drawn == [(shape.removeprefix("hollow "), shape.startswith("hollow")) for shape in shapes]
    assert [tip["title"] for tip in marks[0]["encoding"]["tooltip"][-n:]] == [f"model m{i}" for i in range(n)]


def test_world__countries_by_code_and_name():
    human = survey_cube(4).assign_coords(country=["NOR", "the United States", "xx", "gb"])
    human["country_label"] = ("country", ["Norway", "US", "Nowhere", "Britain"])
    frame = facts.effects(human, attribute=[0], value=[0], persona=[0])
    rows, lost = world.rows(frame, human, words.Names(human).countries)
    assert lost == ["Nowhere"]
    assert [round(row["latitude"]) for row in rows] == [64, 40, 54]
    assert world.figure(human.assign_coords(country=list("abcd")).isel(country=[2]), 0, 0) is None


def test_skills__are_those_of_compare():
    human = survey_cube(3)
    models = {"one": model_cube(human, 0.2), "two": model_cube(human, 0.9)}
    comparisons = {label: compare(human, model) for label, model in models.items()}
    frame = skills.table(comparisons)
    groups = comparisons["two"]["groups"]
    assert len(frame) == 2 * 2 * len(groups)
    last = frame[(frame["model"] == "two") & (frame["part"] == "effect")]
    np.testing.assert_array_equal(
        last["skill"], [np.nan if g["effect"]["skill"] is None else g["effect"]["skill"] for g in groups]
    )


def test_equity__on_values_asked_everywhere():
    """Oracle: compare on those values alone; the gap is that of the best and the worst group."""
    human = survey_cube(3, [make_value(i) for i in range(3)])
    human["n"].values[1, 2] = 0  # nobody in one country was asked the third
    model = model_cube(human, 0.6)
    table = skills.equity(human, {"m": model}, {"m": compare(human, model)})
    fair = compare(human.isel(value=[0, 1]), model.isel(value=[0, 1]))["groups"]
    skill = {g["key"]: g["level"]["skill"] for g in fair if g["by"] == "country"}
    (row,) = [row for row in table.rows if row[1:3] == ["country", "levels"]]
    best, worst = max(skill, key=skill.get), min(skill, key=skill.get)
    assert row[3:5] == [best, worst]
    assert row[7] == words.plain(skill[best] - skill[worst], 3)
    assert row[-1] == "2"


def test_diagnostics__count_what_the_cube_says(refuted):
    frame = diagnostics.verdicts(refuted)
    counted = (refuted["refutation_verdict"].values != schema.NOT_RUN).sum()
    assert len(frame) == counted > 0
    row = frame.iloc[-1]
    at = {"country": row["country"], "attribute": row["contrast"], "value": row["value"], "refuter": row["refuter"]}
    assert schema.VERDICTS[int(refuted["refutation_verdict"].sel(at))] == row["verdict"]
    assert refuted["refutation"].sel(at).item() == row["refutation"]
    smd = diagnostics.differences(refuted)
    assert len(smd) == int(np.isfinite(refuted["smd_before"].values).sum()) > 0
    section = diagnostics.section(refuted)
    assert [figure.title for figure in section.figures] == ["Attempts to refute", "Balance of the arms"]
    assert diagnostics.section(survey_cube().drop_vars("overlap")) is None


def unpacked(data, name):
    packed = data["arrays"][name]
    raw = base64.b64decode(packed["data"])
    return np.frombuffer(raw, dtype=f"<{packed['type']}").reshape(packed["shape"])


def test_explorer__arrays_are_the_cubes(refuted):
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


def test_page__names_come_back(tmp_path):
    """What a label may hold does not end the page's data."""
    human = survey_cube(2, [make_value(0, question="</script><!--<script>")])
    text = write_report(human, {}, tmp_path / "r.html").read_text("utf-8")
    (raw,) = re.findall(r'id="explorer-data">(.*?)</script>', text, re.S)
    assert json.loads(raw)["labels"]["value"][0][1] == "</script><!--<script>"


@pytest.fixture(scope="module")
def refuted() -> xr.Dataset:
    """A small estimated cube with all refuters."""
    survey, _ = simulate(World.make(countries=2, values=2, attributes=2, seed=5), respondents=400)
    return estimate(survey, refute=5)


@pytest.mark.parametrize(
    ("number", "text"), [(0.084, "+0.08"), (-0.084, "−0.08"), (-0.001, "0.00"), (float("nan"), "–"), (1.0, "+1.00")]
)
def test_signed(number, text):
    assert words.signed(number) == text


def test_shorten__says_that_it_cut():
    assert words.shorten("short", 10) == "short"
    cut = words.shorten("w" * 100, 10)
    assert cut.endswith("…")
    assert words.width_of(cut) <= 10
