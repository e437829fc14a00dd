"""Where answers come from: anything that gives the options of prompts their log probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from acecausal.errors import ModelError
from align.prompting.chat import DATE, NOT_THINKING, form_of
from align.prompting.prompts import encode, render, uses_chat
from align.prompting.templates import Text
from align.scoring.scorer import Scorer


@dataclass(frozen=True, slots=True)
class Answers:
    """What a backend says to prompts with K options each.

    Attributes
    ----------
    log_probs : numpy.ndarray, shape (prompts, K)
        Natural log of the probability of each option, over everything the model could say. A prompt of which a server
        listed no option is missing (NaN).
    unlisted : numpy.ndarray, shape (prompts,), optional
        Probability on what a server did not list, 0 where all options were listed; None for a model that was asked
        about the options themselves.
    imputed : numpy.ndarray, shape (prompts,), optional
        How much of the options' probability together was not listed, but put in; None as `unlisted`.
    """

    log_probs: np.ndarray
    unlisted: np.ndarray | None = None
    imputed: np.ndarray | None = None


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
        From `align.models.load.load_model`, with or without an adapter.
    scorer : Scorer, optional
        By default one that checks by itself whether the model can take a whole lattice in one pass.
    template_args : mapping, optional
        More that the tokenizer's chat template is told (see `align.prompting.chat`).
    """

    def __init__(
        self, model: Any, tokenizer: Any, scorer: Scorer | None = None,
        template_args: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.model, self.tokenizer, self.scorer = model, tokenizer, scorer or Scorer(model)
        self.template_args = dict(template_args)
        self._chat = False

    def ask(self, texts: Sequence[Text]) -> Answers:
        import torch

        prompts = encode(self.tokenizer, texts, self.template_args)
        self._chat = self._chat or any(uses_chat(self.tokenizer, text) for text in texts)
        try:
            with torch.inference_mode():
                log_probs = torch.stack(self.scorer.log_probs(prompts)).double()
        except torch.OutOfMemoryError as error:
            hint = "precision bfloat16 takes half of it" if next(self.model.parameters()).dtype == torch.float32 else ""
            raise ModelError("does not fit the memory", param="--model", hint=hint) from error
        return Answers(log_probs.cpu().numpy())

    def rendered(self, text: Text) -> str:
        self._chat = self._chat or uses_chat(self.tokenizer, text)
        return render(self.tokenizer, text, self.template_args)[0]

    def provenance(self) -> dict[str, Any]:
        return {
            "method": self.scorer.method,
            "dtype": str(next(self.model.parameters()).dtype).removeprefix("torch."),
            "versions": {name: version(name) for name in ("acecausal", "torch", "transformers")},
            **(self._chat_form() if self._chat else {}),
        }

    def _chat_form(self) -> dict[str, Any]:
        """Say what the chat template was told, and what it was given in another form than it is usual."""
        form = form_of(self.tokenizer, self.template_args)
        turns = "user, which begins with the system text" if form.merged else "system, user"
        told = {"chat_template_args": {**NOT_THINKING, **self.template_args}, "chat_date": DATE.isoformat()}
        return {"chat_turns": turns, "chat_content": "parts" if form.parts else "text", **told}
