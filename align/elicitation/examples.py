"""Few-shot prompting: a model that is shown what other people answered, before it is asked; nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from acecausal.comparison import holdout
from acecausal.cube import files as cubes
from acecausal.cube.functional import effect_functional, effects_of
from acecausal.errors import AceError, CubeError
from acecausal.estimation.shrinkage import shrink_responses
from align.elicitation.asking import ask
from align.elicitation.backends import Answers, Backend
from align.elicitation.elicit import sample_text
from align.prompting.prompts import compose, describe
from align.prompting.templates import Text
from align.prompting.wordings import Wording

#: People whose answers a prompt shows before it asks.
EXAMPLES = 12


@dataclass(frozen=True)
class WithExamples:
    """A backend whose prompts begin with what others answered.

    Attributes
    ----------
    inner : Backend
    examples : tuple of (Text, int)
        Prompts, worded as the one that follows, and the option that was chosen.
    """

    inner: Backend
    examples: tuple[tuple[Text, int], ...]

    def _shown(self, text: Text) -> Text:
        before = "\n\n".join(f"{one.user}\n{one.lead}{one.options[chosen]}" for one, chosen in self.examples)
        # a question may stand in it several times, which a chat template is not asked to keep apart
        return replace(text, user=f"{before}\n\n{text.user}", parts=())

    def ask(self, texts: Sequence[Text]) -> Answers:
        return self.inner.ask([self._shown(text) for text in texts])

    def rendered(self, text: Text) -> str:
        return self.inner.rendered(self._shown(text))

    def provenance(self) -> dict[str, Any]:
        return self.inner.provenance()


def seen(people: xr.Dataset, held_out: holdout.HoldOut) -> np.ndarray:
    """Give people's shrunk responses, as training targets are: without what is held out, which is missing."""
    held = holdout.masks(held_out, people)[0]
    response = np.where(held[..., None] | (people["n"].values < 1)[..., None], np.nan, people["response"].values)
    scored = people["scale"].values != "nominal"
    return shrink_responses(response, people["n_eff"].values, scored, cubes.lattice_of(people))[0]


def elicit_with_examples(
    backend: Backend,
    people: xr.Dataset,
    held_out: holdout.HoldOut,
    wordings: Sequence[Wording],
    *,
    examples: int = EXAMPLES,
    seed: int = 0,
    attrs: Mapping[str, Any] | None = None,
    progress: Callable[[], None] | None = None,
) -> xr.Dataset:
    """Ask a model what was asked of people, each question after answers of some of them: few-shot prompting.

    Parameters
    ----------
    backend : Backend
        The model.
    people : xarray.Dataset
        A survey cube: what is asked, and whose answers are shown.
    held_out : dict
        Cells of which no answer is shown (see `acecausal.comparison.holdout`). Examples are of the country and the
        question that is asked, where these were seen: for a held-out country they are those of other countries, for a
        held-out question those of other questions.
    wordings : sequence of Wording
        Ways of asking; examples are worded as the question that follows them.
    examples : int
        Answers shown before each question. Personas are drawn from the finest that were seen, answers as people of
        such a persona gave them; anew for each country, question and wording.
    seed : int
    attrs : mapping, optional
        More provenance for the cube.
    progress : callable, optional
        Called without arguments after each question in each country.

    Returns
    -------
    xarray.Dataset
        A model cube; its responses are means over the wordings.

    Raises
    ------
    AceError
        If there are to be no examples.
    CubeError
        If everything is held out.
    """
    if examples < 1:
        raise AceError("expected one at least", param="examples", got=examples)
    lattice, values, countries = cubes.lattice_of(people), cubes.values_of(people), cubes.countries_of(people)
    found = seen(people, held_out)
    there = np.isfinite(found[..., 0])
    if not there.any():
        raise CubeError("nobody's answers are left to be shown", param="held_out", got=holdout.in_words(held_out))
    known = there & (lattice.granularity == lattice.granularity[there.any(axis=(0, 1))].max())
    shape = people["response"].shape
    answers, mass = np.full(shape, np.nan), np.full(shape[:-1], np.nan)
    for c, country in enumerate(countries):
        for v, value in enumerate(values):
            places = np.argwhere(known)
            for axis, here in ((0, c), (1, v)):
                near = places[places[:, axis] == here]
                places = near if len(near) else places
            said = []
            for order, wording in enumerate(wordings):
                rng = np.random.default_rng([seed, c, v, order])
                shown = []
                for k, w, p in places[rng.choice(len(places), examples, replace=len(places) < examples)]:
                    text = compose(countries[k], values[w], describe(lattice, lattice.codes[p]), wording)
                    share = found[k, w, p, : len(values[w].options)]
                    shown.append((text, int(rng.choice(len(share), p=share / share.sum()))))
                said.append(ask(WithExamples(backend, tuple(shown)), country, value, lattice, [wording]))
            answers[c, v, :, : len(value.options)] = np.mean([one.response[0] for one in said], axis=0)
            mass[c, v] = np.mean([one.mass for one in said], axis=0)
            if progress:
                progress()
    functional = effect_functional(people)
    arrays = {
        "response": answers,
        "n": np.where(np.isfinite(mass), len(wordings), 0),
        "option_mass": mass,
        **effects_of(answers, functional, people),
    }
    provenance = {
        "templates": list(dict.fromkeys(wording.template for wording in wordings)),
        "orders": list(dict.fromkeys(wording.order for wording in wordings)),
        "marks": list(dict.fromkeys(wording.marks for wording in wordings)),
        # of the last country and value, with the examples before it
        "prompt_example": WithExamples(backend, tuple(shown)).rendered(sample_text(people, wordings[-1])),
        "model_effect": functional.name,
        "examples": examples,
        "examples_seed": seed,
        "examples_held_out": held_out,
        **backend.provenance(),
        **(attrs or {}),
    }
    return cubes.build("model", countries, values, lattice, arrays, provenance)
