"""The report: its numbers are the cube's, nothing in a label gets out of its text, and odd cubes give a whole page."""

from __future__ import annotations

import base64
import csv
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from acecausal import cube as cubes
from acecausal import schema
from acecausal.comparison import compare
from acecausal.errors import AceError, CubeError
from acecausal.lattice import Attribute, Lattice, Level
from acecausal.report import cells, figures, finding, page, svg, tables, words, write_report

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
    """Hold what is true of every page: whole, self-contained, no script, alternative text everywhere."""
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
            assert tuple(row) == tables.COLUMNS
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

    monkeypatch.setattr(page, "replace", broken)
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
    chart = figures.forest(human, 0, contrasts=[0, 1], countries=[0, 1])
    drawn = svg.render(chart, 'a "quoted" <label>')
    assert drawn == svg.render(chart, 'a "quoted" <label>')
    assert "http" not in drawn
    assert 'aria-label="a &quot;quoted&quot; &lt;label&gt;"' in drawn
    assert "var(--accent" in drawn or "var(--muted" in drawn


def test_forest__draws_the_cubes_numbers():
    human = survey_cube(3)
    chart = figures.forest(human, 1, contrasts=[0, 2], countries=[2, 0], domain=(-9, 9)).to_dict()
    rows = [row for data in chart["datasets"].values() for row in data if "low" in row and "numbers" in row]
    drawn = {tuple(round(row[name], 12) for name in ("low", "effect", "high")) for row in rows}
    part = human.sel(persona="all").isel(value=1, attribute=[0, 2], country=[2, 0])
    bounds = part["effect_interval"].values
    expected = np.stack([bounds[..., 0], part["effect"].values, bounds[..., 1]], -1).reshape(-1, 3)
    assert drawn == {tuple(row) for row in expected.round(12).tolist()}
    assert len(drawn) == 4


def test_responses__draw_the_cubes_shares():
    human = survey_cube()
    chart = figures.responses(human, 1, 0, personas=[0, 2]).to_dict()
    bars = [row for data in chart["datasets"].values() for row in data if "x2" in row]
    widths = {round(row["x2"] - row["x"], 12) for row in bars}
    expected = human["response"].values[0, 1, [0, 2], :3]
    assert widths == set(expected.round(12).ravel().tolist())
    assert len(widths) == 6


def test_versus_points__every_edge_both_have():
    human = survey_cube()
    points, n = figures.versus_points(human, model_cube(human, 1.0).isel(country=[1, 0]), 10_000)
    assert n == len(points) == int(np.isfinite(human["effect"]).sum())
    few, again = figures.versus_points(human, model_cube(human, 1.0), 5)
    assert (len(few), again) == (5, n)


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
