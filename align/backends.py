"""Where answers come from: anything that gives the options of prompts their log probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

from acecausal.errors import ModelError
from align.prompts import Text, encode, render
from align.scorer import Scorer


@dataclass(frozen=True, slots=True)
class Answers:
    """What a backend says to prompts with K options each.

    Attributes
    ----------
    log_probs : numpy.ndarray, shape (prompts, K)
        Natural log of the probability of each option, over everything the model could say.
    unlisted : numpy.ndarray, shape (prompts,), optional
        Probability on what a server did not list, 0 where all options were listed; None for a model that was asked
        about the options themselves.
    """

    log_probs: np.ndarray
    unlisted: np.ndarray | None = None


class Backend(Protocol):
    """Answers prompts."""

    def ask(self, texts: Sequence[Text]) -> Answers:
        """Give the options of each prompt their probabilities; all prompts have equally many options."""

    def rendered(self, text: Text) -> str:
        """Write a prompt as the model gets it, up to where the option follows."""

    def provenance(self) -> dict[str, Any]:
        """What to say in the cube of how the answers came about: strings, numbers, or JSON."""


class InProcess:
    """A transformers model in this process.

    Parameters
    ----------
    model, tokenizer
        From `align.models.load_model`, with or without an adapter.
    scorer : Scorer, optional
        By default one that checks by itself whether the model can take a whole lattice in one pass.
    """

    def __init__(self, model: Any, tokenizer: Any, scorer: Scorer | None = None) -> None:
        self.model, self.tokenizer, self.scorer = model, tokenizer, scorer or Scorer(model)

    def ask(self, texts: Sequence[Text]) -> Answers:
        import torch

        prompts = encode(self.tokenizer, texts)
        try:
            with torch.inference_mode():
                log_probs = torch.stack(self.scorer.log_probs(prompts)).double()
        except torch.OutOfMemoryError as error:
            hint = "precision bfloat16 takes half of it" if next(self.model.parameters()).dtype == torch.float32 else ""
            raise ModelError("does not fit the memory", param="--model", hint=hint) from error
        return Answers(log_probs.cpu().numpy())

    def rendered(self, text: Text) -> str:
        return render(self.tokenizer, text)[0]

    def provenance(self) -> dict[str, Any]:
        return {
            "method": self.scorer.method,
            "dtype": str(next(self.model.parameters()).dtype).removeprefix("torch."),
            "versions": {name: version(name) for name in ("acecausal", "torch", "transformers")},
        }
