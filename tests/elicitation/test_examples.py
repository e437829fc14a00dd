"""Few-shot prompting: whose answers are shown, and what comes of the model's."""

from __future__ import annotations

import numpy as np
import pytest

from acecausal.errors import AceError
from align.elicitation.backends import Answers
from align.elicitation.examples import elicit_with_examples
from align.prompting.wordings import Wording

WAYS = (Wording("interview", "forward"), Wording("interview", "reversed"))
PLACES = {"Australia": "in Australia", "Norway": "in Norway", "Sweden": "in Sweden", "USA": "in the United States"}


class Echo:
    """Keeps the prompts, and answers with the first, second and third option by .1, .2 and .3 of all it could say."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def ask(self, texts):
        self.prompts += [text.user for text in texts]
        words = {"Too little": 0.1, "About right": 0.2, "Too much": 0.3}
        return Answers(np.log([[words[option.strip()] for option in text.options] for text in texts]))

    def rendered(self, text):
        return text.user

    def provenance(self):
        return {"model": "echo"}


def shown(prompt: str) -> list[str]:
    """Split a prompt into what comes before the question."""
    return prompt.split("\n\n")[:-1]


def test_examples__of_the_country_asked_about_where_it_was_seen(human):
    backend = Echo()
    cube = elicit_with_examples(backend, human, {"country": ["USA"]}, WAYS, examples=3)
    personas = human.sizes["persona"]
    assert len(backend.prompts) == 4 * 2 * personas
    others = set()
    for number, prompt in enumerate(backend.prompts):
        asked = list(PLACES)[number // (2 * personas)]
        before = shown(prompt)
        assert len(before) == 3
        assert PLACES[asked] in prompt.split("\n\n")[-1]
        assert not any(PLACES["USA"] in one for one in before)
        if asked == "USA":
            others |= {place for place in PLACES.values() for one in before if place in one}
        else:
            assert all(PLACES[asked] in one for one in before)
        assert all(one.endswith(("Too little", "About right", "Too much")) for one in before)
    assert others <= set(PLACES.values()) - {PLACES["USA"]}
    np.testing.assert_allclose(cube["response"].values, np.broadcast_to([1 / 6, 2 / 6, 3 / 6], cube["response"].shape))
    np.testing.assert_allclose(cube["option_mass"], 0.6)
    assert cube.attrs["examples"] == 3
    assert np.abs(cube["effect"].fillna(0)).max() < 1e-12


def test_examples__answers_are_drawn_as_people_gave_them(human):
    """Oracle: the cube's own shrunk responses, of all finest personas alike; within 4 standard errors of a share."""
    backend = Echo()
    elicit_with_examples(backend, human, {}, WAYS[:1], examples=2000, seed=1)
    one = human.sel(country=["Norway"])
    said = [one.rpartition("The answer is ")[2] for one in shown(backend.prompts[human.sizes["persona"]])]
    there = one["n"].values[0, 0] > 0
    finest = (one["granularity"].values == one["granularity"].values.max()) & there
    wanted = np.nanmean(one["response_shrunk"].values[0, 0, finest], axis=0)  # personas are drawn alike
    shares = [said.count(option) / len(said) for option in ("Too little", "About right", "Too much")]
    assert np.abs(shares - wanted).max() < 4 * np.sqrt(0.25 / 2000)


def test_examples__finest_that_were_seen(human):
    """Of personas of one attribute alone, where the others are held out."""
    backend = Echo()
    names = [name for name in dict.fromkeys(human["treatment"].values.tolist()) if name != "gender"]
    elicit_with_examples(backend, human, {"attributes": names}, WAYS[:1], examples=4)
    for one in shown(backend.prompts[-1]):
        assert "The respondent, a woman, chooses" in one or "The respondent, a man, chooses" in one


def test_examples__none(human):
    with pytest.raises(AceError, match="expected one at least"):
        elicit_with_examples(Echo(), human, {}, WAYS, examples=0)
    with pytest.raises(AceError, match="nobody's answers are left"):
        elicit_with_examples(Echo(), human, {"country": list(PLACES)}, WAYS)
