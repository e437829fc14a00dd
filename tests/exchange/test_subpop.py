"""SubPOP: shifts from named baselines only, the order of options, and rows that are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from exchange_files import read_subpop, subpop_rows

from acecausal.cube import schema
from acecausal.errors import DataError
from acecausal.exchange import import_cube
from acecausal.exchange.choices import Choices
from acecausal.exchange.rows import ANOTHER_ORDER


def test_subpop__shifts_only_from_a_named_baseline(tmp_path):
    path = tmp_path / "a.jsonl"
    found = read_subpop(path, subpop_rows(), baselines={"SEX": "Female"})
    cube = found.cube
    assert cube["persona"].values.tolist()[:3] == ["all", "SEX=Male", "SEX=Female"]
    assert "INCOME=_100_000_or_more" in cube["persona"].values
    assert cube["option_label"].values.tolist() == [["Less", "Same", "More"]]
    status = cube["status"].sel(persona="all", value="roads").squeeze()
    assert status.sel(attribute="SEX:Male") == schema.OK
    assert (status.sel(attribute=["INCOME:x_y", "INCOME:Less"]) == schema.NOT_ASKED).all()
    shift = cube["shift"].sel(attribute="SEX:Male", persona="all").values.ravel()
    np.testing.assert_allclose(shift, [0.1, 0, -0.1], atol=1e-12)
    marginal = cube["response"].sel(persona="all").values.ravel()
    np.testing.assert_allclose(marginal, [0.25, 0.5, 0.25], atol=1e-12)  # of SEX, which has the fewest levels
    assert any("INCOME" in text and "--baseline ATTRIBUTE=GROUP" in text for text in found.noted)
    with pytest.raises(DataError, match="--respondents"):
        read_subpop(path, subpop_rows(), respondents=None)


@pytest.mark.parametrize(
    ("ordinal", "labels", "scale"),
    [
        ([3, 2, 1], ["More", "Same", "Less"], "ordinal"),
        ([1, 1, 1], ["Less", "Same", "More"], "nominal"),
        ([1, -1, 2], ["Less", "More"], "binary"),
        (None, ["Less", "Same", "More"], "nominal"),
    ],
)
def test_subpop__order_of_options(tmp_path, ordinal, labels, scale):
    cube = read_subpop(tmp_path / "a.jsonl", subpop_rows(ordinal=ordinal)).cube
    assert cube["option_label"].values.tolist() == [labels]
    assert cube["scale"].values.tolist() == [scale]
    male = dict(zip(labels, cube["response"].sel(persona="SEX=Male").values.ravel(), strict=True))
    left = 0.5 if -1 in (ordinal or []) else 1.0
    assert male["Less"] == pytest.approx(0.3 / left, abs=1e-12)


def test_subpop__what_is_wrong(tmp_path):
    for changed, says in (
        ({"responses": [0.2] * 5}, "more shares than options"),
        ({"responses": [0.5, 0.2, 0.2]}, "do not sum to 1"),
        ({"ordinal": [1, 2]}, "ordinal is no list of places"),
        ({"ordinal": "up"}, "ordinal is of the wrong kind"),
        ({"group": None}, "group is of the wrong kind"),
    ):
        rows = subpop_rows()
        rows[1] |= changed
        with pytest.raises(DataError, match=says) as caught:
            read_subpop(tmp_path / "a.jsonl", rows)
        assert "a.jsonl, row 2" in str(caught.value)
    with pytest.raises(DataError, match="is empty"):
        read_subpop(tmp_path / "a.jsonl", [])
    with pytest.raises(DataError, match="is a folder"):
        import_cube("subpop", tmp_path, Choices(respondents=1))
    with pytest.raises(DataError, match="get the same name"):
        read_subpop(tmp_path / "a.jsonl", [*subpop_rows(), subpop_rows(group="x y")[3]])


def test_subpop__rows_in_another_order_go_by_their_words(tmp_path):
    """Women say less by .1, however their row lists or places the options. Oracle: by hand."""
    for changed in (
        {"ordinal": [3, 2, 1], "responses": [0.2, 0.5, 0.3]},
        {"options": ["More", "Same", "Less", "Refused"], "ordinal": [3, 2, 1], "responses": [0.3, 0.5, 0.2]},
        {"options": ["Same", "Less", "More", "Refused"], "ordinal": [1, 2, 3], "responses": [0.5, 0.2, 0.3]},
    ):
        rows = subpop_rows()[:2]
        rows[1] |= changed
        found = read_subpop(tmp_path / "a.jsonl", rows, baselines={"SEX": "Male"})
        assert found.cube["effect"].values.ravel()[0] == pytest.approx(0.1, abs=1e-12)
        assert found.cube["option_label"].values.tolist() == [["Less", "Same", "More"]]
        assert (ANOTHER_ORDER in found.noted) == (changed.get("options", [""])[0] != "More")


def test_subpop__what_has_no_share_is_said_or_refused(tmp_path):
    noted = read_subpop(tmp_path / "a.jsonl", subpop_rows()).noted
    assert noted["rows whose last options have no share (Refused: taken as no answer)"] == 5
    for options in (["Refused", "Less", "Same", "More"], ["Less", "Same", "More", "Much more", "Refused"]):
        with pytest.raises(DataError, match="options and shares differ in number"):
            read_subpop(tmp_path / "a.jsonl", subpop_rows(options=options))
    rows = subpop_rows(ordinal=[1, 1, 2])
    assert sum("no order" in text for text in read_subpop(tmp_path / "a.jsonl", rows).noted) == 1
    rows[1]["ordinal"] = [1, 2, 3]
    with pytest.raises(DataError, match="an order in one row and none in another"):
        read_subpop(tmp_path / "a.jsonl", rows)
