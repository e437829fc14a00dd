"""The report in a real browser: Debian's Chromium, driven by playwright.

Oracle of every number: the cube, by label, in single precision (what the page carries).
"""

from __future__ import annotations

import os
import shutil
from urllib.parse import parse_qs, urlencode

import numpy as np
import pytest
import xarray as xr
from playwright.sync_api import sync_playwright
from report_cubes import EVIL, lattice, make_value, model_cube, survey_cube, with_heed

from acecausal.comparison.pooling import pooled
from acecausal.cube import schema
from acecausal.report import write_report

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PICTURES = ("countries", "values", "world", "responses", "lattice")


@pytest.fixture(scope="module")
def chromium():
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None and os.environ.get("BROWSER_TESTS") != "required":
        pytest.skip("no Chromium here (Debian: apt install chromium)")
    assert path, "no Chromium, and BROWSER_TESTS=required"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=[*QUIET, "--disable-component-update", "--disable-sync"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """Write a report and open it; whatever the browser complains of or asks the network for fails the test."""
    complaints = []
    contexts = []

    def open_report(human, models=None, *, view="", size=DESK, script=True, **more):
        path = write_report(human, models or {}, tmp_path / "r.html")
        context = chromium.new_context(viewport=size, java_script_enabled=script, **more)
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
        page.on("request", lambda r: None if r.url.startswith("file:") else complaints.append(f"request {r.url}"))
        page.goto(f"file://{path}{view}")
        if script and page.locator("#explore").count():
            page.wait_for_selector("#explore[data-state=drawn]")
        return page

    yield open_report
    assert complaints == []
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def human() -> xr.Dataset:
    cube = survey_cube(4, [make_value(0), make_value(1, options=3), make_value(2, scale="nominal")])
    for name in ("p_value", "q_value"):  # the first view is of a value with a score
        cube[name] = cube[name].where((cube["scale"] != "nominal") | cube[name].isnull(), 0.9)
    return cube.assign_coords(country=["NOR", "SWE", "AUS", "USA"])


def choose(page, **labels):
    for dim, text in labels.items():
        page.locator(f'[data-choose="{dim}"]').select_option(label=text)
    page.wait_for_selector("#explore[data-state=drawn]")


def listed(page, picture) -> list[dict[str, str | float]]:
    """Rows of the table under a picture, numbers as the page holds them."""
    return page.evaluate(
        """(name) => {
            const table = document.querySelector(`[data-numbers="${name}"] table`);
            const heads = Array.from(table.tHead.rows[0].cells, (cell) => cell.textContent);
            const plain = (cell) => cell.textContent.replace("–", "");
            const entry = (cell) => "number" in cell.dataset ? Number(cell.dataset.number) : plain(cell);
            const row = (line) => Object.fromEntries(Array.from(line.cells, (cell, i) => [heads[i], entry(cell)]));
            return Array.from(table.tBodies[0].rows, row);
        }""",
        picture,
    )


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_report__every_picture_is_drawn(opened, human, size):
    page = opened(human, {"before": model_cube(human, 0.2), "after": model_cube(human, 0.8)}, size=size)
    for name in PICTURES:
        marks = page.locator(f'[data-picture="{name}"] svg path, [data-picture="{name}"] svg text').count()
        assert marks >= 4, name
    empty = page.evaluate(
        """() => Array.from(document.querySelectorAll("svg[role=img], .picture svg"))
            .filter((svg) => svg.getClientRects().length && !svg.querySelector("path, text")).length"""
    )
    assert empty == 0
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.locator(".panels svg:visible").count() > 20


@pytest.mark.parametrize(
    ("country", "contrast", "value", "context"),
    [("NOR", "school:high", "v1", "all"), ("USA", "gender:female", "v0", "school=middle")],
)
def test_report__numbers_equal_the_cubes(opened, human, country, contrast, value, context):
    model = model_cube(human, 0.5)
    view = {"country": country, "contrast": contrast, "value": value, "context": context}
    page = opened(human, {"model": model}, view="#" + urlencode(view))
    rows = listed(page, "countries")
    total = pooled(human).sel(attribute=contrast, value=value, persona=context)
    *own, last = rows
    assert [row["country"] for row in own] == human["country"].values.tolist()
    for row in own:
        cell = human.sel(country=row["country"], attribute=contrast, value=value, persona=context)
        names = ("estimate", "q.value", "conf.low", "conf.high", "n_baseline", "n_treated")
        numbers = [np.nan if row[name] == "" else row[name] for name in names]
        expected = [cell["effect"], cell["q_value"], *cell["effect_interval"], cell["n_baseline"], cell["n_treated"]]
        np.testing.assert_allclose(numbers, expected, rtol=1e-6, atol=1e-7)
        other = model["effect"].sel(country=row["country"], attribute=contrast, value=value, persona=context)
        np.testing.assert_allclose(row["model: model"], other, rtol=1e-6)
    ends = [last[name] for name in ("estimate", "conf.low", "conf.high")]
    np.testing.assert_allclose(ends, [total["effect"], total["lower"], total["upper"]], rtol=1e-6, atol=1e-7)
    drawn = page.locator('[data-picture="countries"] svg').text_content()
    for row in own:
        assert row["estimate"] == "" or f"{row['estimate']:+.2f}".replace("-", "−") in drawn
    assert sum(row["estimate"] == "" for row in own) == int(
        np.isnan(human["effect"].sel(attribute=contrast, value=value, persona=context)).sum()
    )
    share = [row["share"] for row in listed(page, "responses")]
    coarse = human["granularity"].values <= 1
    k = int(human["n_options"].sel(value=value))
    expected = human["response"].sel(country=country, value=value).values[coarse, :k]
    np.testing.assert_allclose(share, expected.ravel(), rtol=1e-6)
    arcs = {(row["attribute"], row["context"]): row["estimate"] for row in listed(page, "lattice")}
    edges = human["effect"].sel(country=country, value=value)
    assert len(arcs) == int((human["status"].sel(country=country, value=value) != schema.NOT_APPLICABLE).sum())
    for (name, persona), estimate in arcs.items():
        shown = np.nan if estimate == "" else estimate
        np.testing.assert_allclose(shown, edges.sel(attribute=name, persona=persona), rtol=1e-6)
    said = page.locator("[data-says]").text_content()
    assert f"{float(edges.sel(attribute=contrast, persona=context)):+.2f}".replace("-", "−") in said


def test_report__choosing_changes_picture_and_address(opened, human):
    page = opened(human)
    before = page.locator('[data-picture="countries"] svg').inner_html()
    choose(
        page,
        value="Question 1: how much do you agree?",
        contrast="gender: women, against men",
        context="schooling: low school",
    )
    assert page.locator('[data-picture="countries"] svg').inner_html() != before
    asked = {name: texts[0] for name, texts in parse_qs(page.evaluate("location.hash.slice(1)")).items()}
    assert (asked["value"], asked["contrast"], asked["context"]) == ("v1", "gender:female", "school=low")
    again = opened(human, view="#" + urlencode(asked))
    assert again.locator('[data-choose="context"] option:checked').text_content() == "schooling: low school"
    assert again.locator("[data-says]").text_content() == page.locator("[data-says]").text_content()
    # the contrast of the context's own attribute does not exist: back to everyone
    choose(page, contrast="schooling: high school, against low school")
    assert page.locator('[data-choose="context"] option:checked').text_content() == "everyone"
    assert page.locator('[data-choose="context"] option:disabled').count() == 3


def test_report__says_what_the_address_asks_in_vain(opened, human):
    page = opened(human, view="#country=SWE&context=nosuch")
    assert page.locator("[data-lost]").text_content() == "This page does not hold context nosuch."
    assert page.locator('[data-choose="country"] option:checked').text_content() == "Country 1"


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_report__no_text_leaves_its_picture(opened, size):
    """Long questions and personas are cut where their room ends, in whatever face the browser has."""
    values = [make_value(i, question=f"Question {i}: {'how much do you agree with this? ' * 4}") for i in range(3)]
    page = opened(survey_cube(3, values), size=size)
    outside = page.evaluate(
        """() => Array.from(document.querySelectorAll("svg text")).filter((text) => {
            const [box, svg] = [text, text.ownerSVGElement].map((element) => element.getBoundingClientRect());
            return svg.width && (box.left < svg.left - 2 || box.right > svg.right + 2);
        }).map((text) => text.textContent)"""
    )
    assert outside == []


def test_report__the_phones_lattice_is_whole(opened, human):
    page = opened(human, size=PHONE)
    outside = page.evaluate(
        """() => {
            const svg = document.querySelector('[data-picture="lattice"] svg'), frame = svg.getBoundingClientRect();
            const texts = Array.from(svg.querySelectorAll("text"));
            const out = texts.filter((text) => {
                const box = text.getBoundingClientRect();
                return box.bottom > frame.bottom + 2 || box.top < frame.top - 2 || box.right > frame.right + 2;
            });
            return [texts.map((text) => text.textContent), out.length];
        }"""
    )
    assert outside[1] == 0
    assert any(text.startswith("everyone") for text in outside[0])


def test_report__clicking_a_disc_chooses_its_country(opened, human):
    page = opened(human, view="#country=NOR")
    discs = page.locator('[data-picture="world"] svg .mark-symbol path')
    assert discs.count() == 4
    discs.nth(3).click()
    page.wait_for_selector("#explore[data-state=drawn]")
    assert page.locator('[data-choose="country"] option:checked').text_content() == "Country 3"
    page.locator('[data-picture="world"] svg .mark-symbol path').nth(2).hover()
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    assert "Country 2" in tip.text_content()


def test_report__tables_sort_and_filter(opened, human):
    page = opened(human)
    table = page.locator("#numbers table").first
    head = table.locator("th", has_text="estimate")
    column = table.locator("thead th").all_text_contents().index("estimate")
    cells = f"tbody tr:visible td:nth-child({column + 1})"

    def numbers():
        return [float(text.replace("−", "-")) for text in table.locator(cells).all_text_contents()]

    unsorted = numbers()
    head.locator("button").click()
    assert numbers() == sorted(unsorted) != unsorted
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").click()
    assert numbers() == sorted(unsorted, reverse=True)
    page.locator("#numbers input[type=search]").first.fill("NOR female")
    texts = table.locator("tbody tr:visible").all_text_contents()
    assert len(texts) == 2  # two values with a score
    assert all("NOR" in text and "female" in text for text in texts)


def test_report__can_be_read_without_a_script(opened, human):
    page = opened(human, {"m": model_cube(human, 0.5)}, script=False)
    assert page.locator("#explore").is_hidden()
    assert page.locator("#world svg").first.is_visible()
    for name in ("effects", "map", "responses", "lattice", "models", "numbers", "methods"):
        assert page.locator(f"#{name} h2").is_visible()


def test_report__labels_run_nothing(opened):
    values = [make_value(i, question=f"{EVIL} {i}", option=EVIL) for i in range(2)]
    cube = survey_cube(values=values, over=lattice(evil=EVIL), label=EVIL)
    page = opened(cube, {EVIL: model_cube(cube, 0.5)})
    assert page.locator("img").count() == 0
    assert EVIL in page.locator("[data-question]").text_content()
    page.locator('[data-picture="countries"] svg .mark-symbol path').first.hover()
    page.locator("#vg-tooltip-element.visible").wait_for()
    assert page.locator("#vg-tooltip-element img").count() == 0


def test_report__a_foreign_script_does_not_run(chromium, human, tmp_path):
    path = write_report(human, {}, tmp_path / "r.html")
    text = path.read_text("utf-8").replace("</main>", "<script>window.foreign = 1</script></main>")
    path.write_text(text, "utf-8")
    page = chromium.new_page()
    page.goto(f"file://{path}")
    page.wait_for_selector("#explore[data-state=drawn]")
    assert page.evaluate("window.foreign") is None
    page.close()


@pytest.mark.parametrize(
    "cube",
    [
        survey_cube(1, [make_value(0, options=2, scale="binary"), make_value(1, options=11)], over=lattice(depth=1)),
        survey_cube(60, [make_value(0, question="سؤال طويل " * 20), make_value(1, question="幸せですか" * 60)]),
        survey_cube(2, [make_value(0, scale="nominal")]),
        survey_cube(2, [make_value(0, scale="nominal"), make_value(1)], status_all=schema.TOO_FEW),
    ],
    ids=["one country", "60 countries, two scripts", "nominal", "none in all"],
)
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_report__odd_cubes(opened, cube, size):
    page = opened(cube, {"m": model_cube(cube, 0.5)}, size=size)
    assert page.locator("h2:visible").count() >= 6
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_report__answers_without_effects(opened):
    page = opened(survey_cube(2, [make_value(0, scale="nominal"), make_value(1, scale="nominal")]))
    shown = page.locator("#explore figure:visible").evaluate_all("all => all.map((f) => f.dataset.figure)")
    assert shown == ["options", "responses"]
    assert page.locator('[data-picture="responses"] svg').is_visible()
    assert page.locator("[data-choose]:visible").count() == 4
    mixed = opened(survey_cube(2, [make_value(0, scale="nominal"), make_value(1)]), view="#value=v0")
    shown = mixed.locator("#explore figure:visible").evaluate_all("all => all.map((f) => f.dataset.figure)")
    assert shown == ["options", "values", "responses"]
    choose(mixed, value="Question 1: how much do you agree?")
    assert mixed.locator("#explore figure:visible").count() > 2


def test_report__shifts_answer_by_answer(opened, human):
    """Oracle: the cube, by label, in single precision; the sentence names the answer that moves most."""
    model = model_cube(human, 0.4)
    page = opened(human, {"m": model}, view="#country=AUS&contrast=gender:female&value=v2&context=all")
    cell = {"country": "AUS", "attribute": "gender:female", "value": "v2", "persona": "all"}
    rows = listed(page, "options")
    k = int(human["n_options"].sel(value="v2"))
    assert [row["option_label"] for row in rows] == [f"option {i + 1}" for i in range(k)]
    for name, cube in (("estimate", human), ("model: m", model)):
        expected = cube["shift"].sel(cell).values[:k].astype("f4")
        np.testing.assert_array_equal(np.array([row[name] for row in rows], dtype="f4"), expected)
    half = (human["shift_critical"] * human["shift_se"]).sel(cell).values[:k]
    np.testing.assert_allclose([row["conf.high"] - row["estimate"] for row in rows], half, rtol=1e-5)
    moved = human["shift"].sel(cell).values[:k]
    most = int(np.abs(moved).argmax())
    said = page.locator("[data-says]").text_content()
    assert f"“option {most + 1}” moves most, by {100 * moved[most]:+.0f} percentage points".replace("-", "−") in said


def test_report__marks_what_a_model_does_not_heed(opened, human):
    """Its marks are pale, its contrast has the dagger, and the sentence says why; of what it heeds nothing is said."""
    heeding = with_heed(model_cube(human, 0.5), {"gender:female": 0.03, "school:middle": 0.9, "school:high": 0.8})
    page = opened(human, {"m": heeding}, view="#country=NOR&contrast=gender:female&value=v0&context=all")
    opacity = "all => all.map((mark) => Number(mark.getAttribute('opacity') ?? 1))"
    marks = page.locator('[data-picture="countries"] svg path[fill*="contrast"]')
    assert set(marks.evaluate_all(opacity)) == {0.35}
    assert page.locator('[data-choose="contrast"] option:checked').text_content().endswith(" †")
    assert "does not take in being told so" in page.locator("[data-says]").text_content()
    choose(page, contrast="schooling: high school, against low school")
    assert set(marks.evaluate_all(opacity)) == {1}
    assert "does not take in" not in page.locator("[data-says]").text_content()


def test_report__one_country_shows_contrasts(opened, human):
    page = opened(human.sel(country=["AUS"]), view="#contrast=gender:female&value=v0&context=all")
    shown = page.locator("#explore figure:visible").evaluate_all("all => all.map((f) => f.dataset.figure)")
    assert shown == ["countries", "values", "responses", "lattice"]
    assert page.locator('[data-choose="country"]').is_hidden()
    part = human.sel(country="AUS", value="v0", persona="all")
    rows = listed(page, "countries")
    assert [row["attribute"] for row in rows] == list(human["attribute"].values)
    expected = part["effect"].values.astype("f4")
    np.testing.assert_array_equal(np.array([row["estimate"] for row in rows], dtype="f4"), expected)


def test_report__hovering_speaks_the_readers_language(opened, human):
    page = opened(human, {"before": model_cube(human, 0.2), "after": model_cube(human, 0.8)})
    page.locator('[data-picture="countries"] svg .mark-symbol path').first.hover()
    said = page.locator("#vg-tooltip-element.visible").text_content()
    assert "against" in said
    assert "everyone" in said
    assert "model before" in said
    assert "gender:female" not in said
    assert "school:" not in said


def test_report__dark_and_print(opened, human):
    page = opened(human, color_scheme="dark")
    colours = page.evaluate(
        """() => [document.body, document.querySelector("#map svg text"), document.querySelector(".picture svg text")]
            .map((element, i) => getComputedStyle(element)[i ? "fill" : "backgroundColor"])"""
    )
    light = [sum(int(part) for part in colour[4:-1].split(",")) for colour in colours]
    assert light[0] < 100
    assert min(light[1:]) > 300
    page.emulate_media(media="print")
    assert page.locator("#explore").is_hidden()
    assert page.locator("#world").is_visible()
