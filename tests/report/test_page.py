"""The page is whole and self-contained, its numbers are the cube's, and labels stay text; so for odd cubes too."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from models_as_people import as_model
from report_cubes import EVIL, lattice, make_value, model_cube, survey_cube

from acecausal.comparison.coherence import by_granularity
from acecausal.comparison.compare import compare, shared
from acecausal.cube import outputs, schema
from acecausal.errors import AceError, CubeError
from acecausal.report import explorer, facts, page, words, write_report

VOID = {"meta", "link", "br", "hr", "img", "input"}


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
    numbers = {"estimate": "effect", "std.error": "effect_se", "p.value": "p_value", "q.value": "q_value"}
    checked = 0
    for name, expected in (("effects.csv", human.sel(persona=["all"])), ("effects-all-contexts.csv", human)):
        rows = read.csv(name)
        assert len(rows) == int(np.isfinite(expected["effect"]).sum()) > 0
        assert len({(r["country"], r["attribute"], r["value"], r["context"]) for r in rows}) == len(rows)
        for row in rows:
            assert tuple(row) == tuple(
                facts.PUBLIC.get(name, name) for name in facts.COLUMNS[:-1]
            )  # all of them have status ok
            at = {
                "country": row["country"],
                "attribute": row["attribute"],
                "value": row["value"],
                "persona": row["context"],
            }
            cell = human.sel(at)
            for column, variable in numbers.items():
                assert float(row[column]) == float(cell[variable])
            assert [float(row["conf.low"]), float(row["conf.high"])] == cell["effect_interval"].values.tolist()
            assert int(row["n"]) == int(cell["n_baseline"] + cell["n_treated"])  # the cube does not say n_effect
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
    assert {"effects", "responses", "models", "numbers", "missing", "methods"} <= ids
    assert ("map" in ids) == (human["scale"] != "nominal").any()
    assert "world" not in ids  # these countries have no place


def test_write_report__one_country_is_not_compared_with_others(human, tmp_path):
    """No map, no chart of every country with one row, no heat map of one column, one place to choose from; and no page
    of many countries longer than four pictures' worth of rows."""
    alone = human.sel(country=["Norway"])
    read = check_page(write_report(alone, {}, tmp_path / "r.html").read_text("utf-8"))
    assert "world" not in {attrs.get("id") for attrs in read.all("section")}
    assert "world" not in {attrs.get("data-figure") for attrs in read.all("figure")}
    (heat,) = next(s for s in page.sections(alone, {}, {}) if s.key == "map").figures[0].panels
    rows = heat.wide["datasets"]["rows"]
    assert {row["x"] for row in rows} == set(range(4))  # contrasts across
    (forest,) = next(s for s in page.sections(alone, {}, {}) if s.key == "effects").figures[0].panels
    assert [row["label"] for row in forest.wide["datasets"]["rows"]][:1] == ["gender: women"]
    assert "world" in {s.key for s in page.sections(human, {}, {})}


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

    monkeypatch.setattr(outputs, "replace", broken)
    with pytest.raises(OSError, match="no room"):
        write_report(survey_cube(), {}, path)
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_association__is_never_told_as_causal(tmp_path):
    human = survey_cube(2).assign_attrs(estimand="association")
    text = write_report(human, {}, tmp_path / "r.html").read_text("utf-8")
    shown = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    for phrase in ("causal only", "moves the mean", "moves answers", "move answers", "What moves", "typically moves"):
        assert phrase not in shown, phrase
    assert "adjusted for nothing: not causal" in shown
    causal = write_report(survey_cube(2), {}, tmp_path / "c.html").read_text("utf-8")
    assert "causal only under the graph" in causal


def test_page__names_come_back(tmp_path):
    """What a label may hold does not end the page's data."""
    human = survey_cube(2, [make_value(0, question="</script><!--<script>")])
    text = write_report(human, {}, tmp_path / "r.html").read_text("utf-8")
    (raw,) = re.findall(r'id="explorer-data">(.*?)</script>', text, re.S)
    assert json.loads(raw)["labels"]["value"][0][1] == "</script><!--<script>"


def test_figures__each_has_a_name_and_a_table():
    human = survey_cube(3)
    models = {"m": model_cube(human, 0.5)}
    page_text = page.render(human, models)
    body = re.sub(r"<script.*?</script>", "", page_text.split("<main>")[1], flags=re.DOTALL)
    figures = re.findall(r"<figure.*?</figure>", body, re.DOTALL)
    assert len(figures) > 8
    for figure in figures:
        names = [re.search(r'role="img" aria-label="[^"]+', svg) for svg in re.findall(r"<svg[^>]*>", figure)]
        assert all(names)
        assert "<table" in figure if names else "data-numbers" in figure  # the script draws, names and tabulates these
    assert "<svg" not in re.sub(r"<figure.*?</figure>", "", body, flags=re.DOTALL)


def test_write_report__effects_like_for_like_and_coherence(human, tmp_path):
    """Oracle: the comparison's numbers; a copy of the sample is named, and plain differences are, without shares."""
    copied = as_model(human, np.where(human["response"].isnull(), 1 / 3, human["response"]))
    text = write_report(human, {"twin": copied}, tmp_path / "r.html").read_text("utf-8")
    for number in by_granularity(*shared(human, copied)):
        assert f"{number['distance']:.4f}".lstrip("0") in text
    assert "mixture of the finest" in text
    assert "it may have copied the sample" in text
    plain = write_report(human.drop_vars("share"), {"twin": copied}, tmp_path / "p.html").read_text("utf-8")
    assert "plain differences of two personas" in plain
    assert "mixture of the finest" not in plain
