"""What papers take from a report: numbers are the cube's, markup in labels stays text, pictures are drawings."""

from __future__ import annotations

import io
import re
import unicodedata
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from report_cubes import EVIL, lattice, make_value, model_cube, survey_cube

from acecausal.comparison.pooling import pooled
from acecausal.cube.files import write_cube
from acecausal.cube.outputs import LIST
from acecausal.errors import AceError
from acecausal.report import paper, words, write_report
from cli import main


@pytest.fixture
def human():
    return survey_cube(3)


def rows_of(text: str, title: str) -> list[list[str]]:
    """Cells of the pipe table under a heading, the head first."""
    part = text.split(f"## {title}", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip().replace("\\", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown__numbers_are_the_cubes(human):
    model = model_cube(human, 0.5)
    head, _, *rows = rows_of(paper.markdown(human, {"m": model}), "Effects by country")
    assert head[-1] == "m"
    part, other = human.sel(persona="all"), model["effect"].sel(persona="all")
    assert len(rows) == int(np.isfinite(part["effect"]).sum())
    names = words.Names(human)
    seen = set()
    for country, contrast, question, effect, interval, q, n, of_model in rows:
        at = {
            "country": names.countries.index(country),
            "attribute": [names.contrast(i) for i in range(3)].index(contrast),
            "value": names.questions.index(question),
        }
        cell = part.isel(at)
        low, high = cell["effect_interval"].values
        assert effect == words.signed(cell["effect"].item(), 3)
        assert interval == f"[{words.signed(low, 3)}, {words.signed(high, 3)}]"
        assert q == words.small(cell["q_value"].item())
        assert n == f"{int(cell['n_baseline'] + cell['n_treated']):,}"
        assert of_model == words.signed(other.isel(at).item(), 3)
        seen.add(tuple(at.values()))
    assert len(seen) == len(rows)
    _, _, *means = rows_of(paper.markdown(human, {}), "Effects pooled over countries")
    expected = pooled(human)["effect"].sel(persona="all").values
    assert {row[2] for row in means} == {words.signed(x, 3) for x in expected.ravel()}


def test_markdown__one_question_is_said_once(human):
    text = paper.markdown(human.isel(value=[0]), {})
    assert text.count("Question 0: how much do you agree?") == 3  # two titles, and the largest effect
    assert rows_of(text, "Effects by country: Question 0")[0][:3] == ["Country", "Contrast", "Effect"]


def test_markdown__labels_do_not_make_markup():
    cube = survey_cube(values=[make_value(0, question=f"a | b {EVIL} [x](y) `z`")], over=lattice(evil="|*"), label="#")
    text = paper.markdown(cube, {})
    assert "<script" not in re.sub(r"\\<", "", text)
    table = [line for line in text.split("## Effects by country")[1].splitlines() if line.startswith("|")]
    lengths = {len(re.split(r"(?<!\\)\|", line)) for line in table[:10]}
    assert len(lengths) == 1


def test_latex__is_balanced_and_escaped():
    cube = survey_cube(2, [make_value(0, question="50 % & more_{x} #1 ~^\\ $5"), make_value(1)])
    text = paper.latex(cube, {"a_b": model_cube(cube, 0.5)})
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 4
    bare = re.sub(r"\\[\\{}$&#%_]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    for table in re.findall(r"\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n(.*?)\\end\{longtable\}", text, re.S):
        counts = {
            len(re.findall(r"(?<!\\)&", line)) for line in table.strip().splitlines() if "multicolumn" not in line
        }
        assert len(counts) == 1
    assert r"50 \% \& more\_\{x\} \#1 \textasciitilde{}\textasciicircum{}\textbackslash{} \$5" in text
    assert "−" not in text


def test_csv__every_effect_unrounded(human):
    model = model_cube(human, 0.3)
    frame = pd.read_csv(io.StringIO(paper.table(human, {"m": model})))
    assert len(frame) == int(np.isfinite(human["effect"]).sum())
    for row in frame.sample(20, random_state=1).to_dict("records"):
        at = {
            "country": row["country"],
            "attribute": row["attribute"],
            "value": row["value"],
            "persona": row["context"],
        }
        cell = human.sel(at)
        numbers = [row[name] for name in ("estimate", "std.error", "q.value", "conf.low", "conf.high", "model: m")]
        expected = [
            cell["effect"],
            cell["effect_se"],
            cell["q_value"],
            *cell["effect_interval"],
            model["effect"].sel(at),
        ]
        np.testing.assert_allclose(numbers, expected, rtol=1e-15)
    assert set(frame["estimand"]) == {"direct"}


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_pictures__all_of_the_page(human, kind, tmp_path):
    small = human.isel(value=[0], country=[0, 1])
    models = {"m": model_cube(small, 0.5)}
    folder = write_report(small, models, tmp_path / "figures", kind)
    files = {path.name for path in folder.iterdir()} - {"captions.md", LIST}
    assert files == {f"{name}.{kind}" for name, _, _ in paper.pictures(small, models)}
    assert {name.split("-")[0] for name in files} >= {"overview", "effects", "map", "responses", "lattice", "models"}
    captions = (folder / "captions.md").read_text("utf-8")
    assert all(f"## {name}" in captions for name in files)
    start = {"svg": b"<svg", "png": b"\x89PNG"}[kind]
    for name in files:
        raw = (folder / name).read_bytes()
        assert raw.startswith(start)
        assert b"var(--" not in raw
    write_report(small, models, folder, kind)  # replaces the folder
    assert {path.name for path in folder.iterdir()} == files | {"captions.md", LIST}


def test_write_report__bad_kind_or_place(human, tmp_path):
    with pytest.raises(AceError, match="kind: unknown name"):
        write_report(human, {}, tmp_path / "r", "pdf")
    (tmp_path / "file").write_text("old")
    with pytest.raises(AceError, match=r"is a file(.|\n)*name of a folder"):
        write_report(human, {}, tmp_path / "file", "svg")
    assert (tmp_path / "file").read_text() == "old"


def test_pictures__another_folder_is_left_alone(human, tmp_path):
    own = tmp_path / "thesis"
    own.mkdir()
    (own / "thesis.txt").write_text("years")
    write_cube(human, tmp_path / "h.zarr")
    args = ["report", str(tmp_path / "h.zarr"), "--format", "svg", "-o", str(own), "--force"]
    result = CliRunner().invoke(main, args)
    assert (result.exit_code, "did not write" in result.output) == (1, True)
    (own / "thesis.txt").rename(own / "drawing.svg")  # one like ours, but not beside captions
    with pytest.raises(AceError, match="did not write"):
        write_report(human, {}, own, "svg")
    assert (own / "drawing.svg").read_text() == "years"


def test_cli__the_same_model_twice(human, tmp_path):
    write_cube(human, tmp_path / "h.zarr")
    write_cube(model_cube(human, 0.5), tmp_path / "m.zarr")
    args = ["report", *(str(tmp_path / name) for name in ("h.zarr", "m.zarr", "m.zarr")), "-o", str(tmp_path / "r.md")]
    result = CliRunner().invoke(main, args)
    assert (result.exit_code, "is given twice" in result.output) == (1, True)


def test_cli__formats_and_parts(human, tmp_path):
    def run_cli(*args):
        return CliRunner().invoke(main, args)

    write_cube(human, tmp_path / "h.zarr")
    cube = str(tmp_path / "h.zarr")
    result = run_cli("report", cube, "-o", str(tmp_path / "t.md"), "--value", "v1", "--attribute", "gender")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "t.md").read_text("utf-8")
    assert "women, against men" in text
    assert "middle school" not in text.split("## Methods")[0]
    assert "Question 0" not in text
    assert "This is a part of a cube (3 of 3 countries, 1 of 3 contrasts, 1 of 2 values)" in text
    again = run_cli("report", cube, "-o", str(tmp_path / "t.md"))
    assert (again.exit_code, "exists already" in again.output) == (1, True)
    wrong = run_cli("report", cube, "-o", str(tmp_path / "t.pdf"))
    assert (wrong.exit_code, ".html or .md or .tex or .csv" in wrong.output) == (1, True)
    other = run_cli("report", cube, "-o", str(tmp_path / "t.html"), "--format", "tex")
    assert (other.exit_code, "expected: .tex" in other.output) == (1, True)
    unknown = run_cli("report", cube, "-o", str(tmp_path / "u.md"), "--country", "Mars")
    assert (unknown.exit_code, "--country: unknown name" in unknown.output) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.zarr", "t.md"]


def test_markdown__labels_of_another_script_are_isolated_one_by_one():
    """Oracle: the bidirectional class of each character: no isolate holds Latin words, and none is empty or nested."""
    values = [make_value(0, question="מה דעתך על הממשלה?"), make_value(1, question="ما رأيك؟")]
    text = paper.markdown(survey_cube(2, values, label="ایران"), {})
    isolates = re.findall("\u2068(.*?)\u2069", text)
    assert text.count("\u2068") == text.count("\u2069") == len(isolates) > 10
    sentences = re.sub("\u2068.*?\u2069", "", text).split("## Methods")[0]
    assert not [c for c in sentences if unicodedata.bidirectional(c) in ("R", "AL")]
    assert not [inner for inner in isolates if re.search(r"[A-Za-z]{2}", inner.replace("Title", ""))]
    assert any(part.count("\u2068") > 1 and "|" not in part for part in text.split("\n\n"))


def test_svg_files__have_a_name_each(human, tmp_path):
    small = human.isel(value=[0], country=[0])
    expected = {f"{name}.svg": panel.alt_text for name, _, panel in paper.pictures(small, {})}
    folder = tmp_path / "f"
    folder.mkdir()
    paper.write_pictures(small, {}, folder, "svg")
    for name, text in expected.items():
        root = ElementTree.parse(folder / name).getroot()
        assert (root.get("role"), root.get("aria-label")) == ("img", text)
        assert text


def test_captions__say_what_is_left_out():
    """Oracle: the counts of the cube's own dimensions."""
    cube = survey_cube(45, [make_value(0)])
    figures = {name: figure for name, figure, _ in paper.pictures(cube, {})}
    forest, heat, answers = (next(f for n, f in figures.items() if n.startswith(k)) for k in ("effects", "map", "resp"))
    assert "Shown: 16 of 45 countries" in forest.how
    assert all("in 16 of 45 countries" in panel.alt_text for panel in forest.panels)
    assert "Shown: 30 of 45 countries" in heat.how
    assert "Shown: 6 of 45 countries" in answers.how


def test_captions__of_one_country_do_not_take_the_first_picture_s_title(human):
    """Its heat map has no title of its own: on the page that of the section stands above it."""
    titles = {name: figure.title for name, figure, _ in paper.pictures(human.isel(country=[0]), {})}
    assert titles.pop("overview-1") == ""
    assert titles.pop("map-1") == "All effects at a glance"
