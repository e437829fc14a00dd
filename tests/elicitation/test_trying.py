"""Ways of asking, tried: of backends that read the prompt and answer as is known, the table says what they are."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from readers_of_prompts import Reader

from acecausal.cube.check_questions import check_values
from acecausal.cube.files import lattice_of, values_of, write_cube
from align.elicitation.trying import try_wordings
from align.prompting.templates import TEMPLATES
from align.prompting.wordings import MARKS, ORDERS, possible
from cli import main

SURE = 1 - 1e-12


def reader(like, answer) -> Reader:
    lattice = lattice_of(like)
    return Reader(lattice, [*values_of(like), *check_values(lattice)], answer)


def even(value) -> np.ndarray:
    return np.full(len(value.options), 1 / len(value.options))


def by_meaning(value, told, places):
    """Says what it was told, and thinks the more of the last option the more it is told."""
    if value.name in told:
        return np.where(np.arange(len(value.options)) == told[value.name], SURE, (1 - SURE) / (len(value.options) - 1))
    more = 0.1 * sum(told.values())
    return np.array([*(even(value)[:-1] - more / (len(value.options) - 1)), even(value)[-1] + more])


def by_place(value, told, places):
    """Prefers the option listed first, the more so the more it is told."""
    first, more = np.array(places) == 0, 0.1 * sum(told.values())
    return np.where(first, 0.5 + more, (0.5 - more) / (len(places) - 1))


def test_by_meaning__heeds_and_agrees_in_every_way(human):
    found, best = try_wordings(reader(human, by_meaning), human, tuple(TEMPLATES), MARKS)
    ways = [
        (t, m, orders)
        for t in TEMPLATES
        for m in MARKS
        for orders in (ORDERS, ("unlisted",))
        if possible(t, orders[0], m)
    ]
    assert [(one.template, one.marks, one.orders) for one in found] == ways
    assert len(ways) == len(TEMPLATES) * 4 - 1
    for one in found:
        assert list(one.heed) == list(lattice_of(human).contrast_labels)
        assert one.mean_heed == pytest.approx(1, abs=1e-10)
        assert one.order_agreement == pytest.approx(1, abs=1e-10)
        assert one.option_mass == pytest.approx(1)
        assert one.seconds > 0
    assert best in found


def test_by_place__does_neither(human):
    """Three options: what the first gains one way the last gains the other, and the middle one loses twice: -1/2."""
    (one,), best = try_wordings(reader(human, by_place), human, ["interview"], ["digits"])
    assert best is one
    assert one.mean_heed == pytest.approx(0, abs=1e-10)
    # shifts (2, -1, -1) and (-1, -1, 2) on each contrast: -3 over 6
    assert one.order_agreement == pytest.approx(-0.5)


def test_best__the_one_that_heeds_most_among_those_by_meaning(human):
    """A model that heeds in digits, but answers values by place there, and half heeds in its own words."""

    class Mixed:
        def ask(self, texts):
            digits = texts[0].options[0].strip().isdigit()
            there = any(value.question in texts[0].user + texts[0].lead for value in values_of(human))
            half = lambda value, told, places: 0.5 * by_meaning(value, told, places) + 0.5 * even(value)  # noqa: E731
            answer = (by_place if there else by_meaning) if digits else half
            return reader(human, answer).ask(texts)

        def rendered(self, text):
            return text.user

    found, best = try_wordings(Mixed(), human, ["interview"], ["digits", "labels"])
    digits, labels, unlisted = found
    assert unlisted.orders == ("unlisted",)
    assert unlisted.order_agreement == 1
    assert digits.mean_heed > labels.mean_heed
    assert digits.order_agreement < 0 < labels.order_agreement
    assert best in (labels, unlisted)


def test_command__prints_the_table_and_writes_nothing(tiny_model, human, tmp_path):
    write_cube(human, tmp_path / "human.zarr")
    arguments = ["elicit", "--model", str(tiny_model), "--like", f"{tmp_path}/human.zarr", "--try"]
    result = CliRunner().invoke(main, [*arguments, "--template", "interview", "--marks", "digits"])
    assert result.exit_code == 0, result.output
    assert "interview digits" in result.stdout
    assert "best: --template interview --marks digits" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["human.zarr"]
    assert CliRunner().invoke(main, [*arguments, "--order", "forward"]).exit_code == 2
