"""Kept answers: the same cube bit for bit wherever a run was cut off; and what is asked, counted beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from acecausal.cube.files import lattice_of
from acecausal.errors import AceError
from align.elicitation import planning
from align.elicitation.backends import InProcess
from align.elicitation.elicit import elicit, questions
from align.elicitation.kept import Kept
from align.elicitation.planning import seconds_per_token, work
from align.models.load import load_model
from align.scoring.scorer import Scorer
from cli.main import main


@pytest.fixture(scope="module")
def loaded(tiny_model):
    return load_model(tiny_model)


@pytest.fixture(scope="module")
def two(human):
    return human.sel(country=["Norway", "USA"])


@pytest.fixture(scope="module")
def norway(two):
    return two.isel(country=[0])


@pytest.fixture(scope="module")
def whole(loaded, norway):
    return elicit(InProcess(*loaded), norway)


class Counting(InProcess):
    """Counts what it is asked, and is cut off before it answers the question after `last`."""

    def __init__(self, *args, last=None):
        super().__init__(*args)
        self.asked, self.last = [], last

    def ask(self, texts):
        if len(self.asked) == self.last:
            raise KeyboardInterrupt
        self.asked.append(list(texts))
        return super().ask(texts)


def same(a, b):
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=name)
    assert {k: v for k, v in a.attrs.items() if k != "created"} == {k: v for k, v in b.attrs.items() if k != "created"}


@pytest.mark.parametrize("last", [0, 1, 4])
def test_resume__from_any_point(loaded, norway, whole, tmp_path, last):
    """Oracle: the run that was not cut off, and keeps nothing. Each question is asked once."""
    first = Counting(*loaded, last=last)
    with pytest.raises(KeyboardInterrupt):
        elicit(Kept(first, tmp_path / "units", {}), norway)
    second = Counting(*loaded)
    same(elicit(Kept(second, tmp_path / "units", {}), norway), whole)
    assert len(first.asked) == last
    assert len(first.asked) + len(second.asked) == questions(norway) == 5
    third = Counting(*loaded, last=0)  # nothing is left to ask
    same(elicit(Kept(third, tmp_path / "units", {}), norway), whole)


def test_resume__a_damaged_answer_is_asked_again(loaded, norway, whole, tmp_path):
    elicit(Kept(InProcess(*loaded), tmp_path / "units", {}), norway)
    damaged = sorted((tmp_path / "units").glob("*.npz"))[1]
    damaged.write_bytes(damaged.read_bytes()[:100])
    again = Counting(*loaded)
    same(elicit(Kept(again, tmp_path / "units", {}), norway), whole)
    assert len(again.asked) == 1


def test_kept__another_run_is_refused(loaded, tmp_path):
    backend = InProcess(*loaded)
    Kept(backend, tmp_path / "units", {"model_sha256": "a"})
    Kept(backend, tmp_path / "units", {"model_sha256": "a"})
    with pytest.raises(AceError, match="another run"):
        Kept(backend, tmp_path / "units", {"model_sha256": "b"})
    (tmp_path / "units" / "letter.txt").write_text("mine")
    with pytest.raises(AceError, match=r"letter\.txt"):
        Kept(backend, tmp_path / "units", {"model_sha256": "a"})


@pytest.mark.parametrize("method", ["trie", "batch"])
def test_elicit__no_number_depends_on_the_batch(loaded, norway, method):
    """Passes of 150 tokens and of 5,000: single precision in another order, atol 2e-6."""
    small, large = (
        elicit(InProcess(*loaded, Scorer(loaded[0], method=method, budget=budget)), norway) for budget in (150, 5000)
    )
    for name in ("response", "effect", "option_mass", "heed", "implied", "coherence"):
        np.testing.assert_allclose(small[name], large[name], atol=2e-6)


def test_work__is_what_is_asked(loaded, two):
    """Oracle: what the backend was asked; tokens spelled here, distinct prefixes as a set."""
    backend = Counting(*loaded)
    elicit(backend, two)
    found = work(two, (planning.Wording(),), backend)
    assert [part.questions for part in found.values()] == [2, 8]
    _, tokenizer = loaded
    for part, checks in zip(found.values(), (False, True), strict=True):
        asked = [texts for texts in backend.asked if (len(texts) < len(lattice_of(two).personas)) == checks]
        assert part.questions == len(asked)
        assert part.prompts == sum(map(len, asked))
        tokens = distinct = 0
        for texts in asked:
            prompts = planning.encode(tokenizer, texts)
            spelled = {p.tokens + option[:-1] for p in prompts for option in p.options}
            tokens += sum(map(len, spelled))
            distinct += len({s[:n] for s in spelled for n in range(1, len(s) + 1)})
        assert part.tokens == tokens
        assert distinct <= part.distinct < 1.3 * distinct  # passes of 4096 tokens begin anew
    none = work(two, (planning.Wording(),), checks=False)
    assert list(none) == ["values"]
    assert none["values"].tokens is none["values"].distinct is None


def test_work__of_many_questions_some_are_counted(loaded, two, monkeypatch):
    monkeypatch.setattr(planning, "COUNTED", 3)
    some = work(two, (planning.Wording(),), InProcess(*loaded))["check questions"]
    monkeypatch.undo()
    every = work(two, (planning.Wording(),), InProcess(*loaded))["check questions"]
    assert some.prompts == every.prompts
    assert some.tokens == pytest.approx(every.tokens, rel=0.2)
    assert some.tokens != every.tokens


def test_seconds_per_token(loaded, two):
    """Oracle: a clock of ours, by the tokens that were asked."""
    backend = Counting(*loaded)
    ticks = iter([100.0, 107.0])
    pace = seconds_per_token(backend, two, (planning.Wording(),), clock=lambda: next(ticks))
    assert [len(texts) for texts in backend.asked] == [1, 27]
    assert pace == pytest.approx(7 / planning.counts(backend, backend.asked[1])[1])


def test_cli__cut_off_and_resumed(two, tiny_model, tmp_path, monkeypatch):
    """No cube, whole answers; a plain run is refused, --resume ends it, the answers go."""
    from click.testing import CliRunner

    from acecausal.cube.files import open_cube, write_cube

    write_cube(two, tmp_path / "human.zarr")
    out, plain = tmp_path / "m.zarr", InProcess.ask
    command = ["elicit", "--model", str(tiny_model), "--like", str(tmp_path / "human.zarr"), "-o"]
    asked = []

    def dying(self, texts):
        asked.append(1)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return plain(self, texts)

    monkeypatch.setattr(InProcess, "ask", dying)
    stopped = CliRunner().invoke(main, [*command, str(out)])
    assert stopped.exit_code == 130
    assert "--resume goes on from what is done" in stopped.output
    assert len(list((tmp_path / "m.zarr.units").glob("*.npz"))) == 3
    assert not out.exists()
    assert "--resume goes on with it" in CliRunner().invoke(main, [*command, str(out)]).output
    other = CliRunner().invoke(main, [*command, str(out), "--resume", "--precision", "bfloat16"])
    assert other.exit_code == 1
    assert "another run" in other.output
    done = CliRunner().invoke(main, [*command, str(out), "--resume"])
    assert done.exit_code == 0, done.output
    assert len(asked) == 4 + 7
    assert CliRunner().invoke(main, [*command, str(tmp_path / "whole.zarr")]).exit_code == 0
    same(open_cube(out), open_cube(tmp_path / "whole.zarr"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["human.zarr", "m.zarr", "whole.zarr"]


def test_cli__dry_run(two, tiny_model, tmp_path):
    from click.testing import CliRunner

    from acecausal.cube.files import write_cube

    write_cube(two, tmp_path / "human.zarr")
    command = ["elicit", "--model", str(tiny_model), "--like", str(tmp_path / "human.zarr"), "--dry-run"]
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 0, told.output
    rows = {line.split("  ")[1]: line.split()[-5:] for line in told.stdout.splitlines() if "s  " in line[:20]}
    assert list(rows) == ["values", "check questions"]
    assert rows["values"][:2] == ["2", "324"]
    server = CliRunner().invoke(main, [*command, "--endpoint", "http://localhost:1/v1", "--rate", "2", "--no-checks"])
    assert server.exit_code == 0, server.output
    assert server.stdout.split()[-6:] == ["values", "2", "324", "-", "-", "2.7"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["human.zarr"]
