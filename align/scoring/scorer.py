"""Log probabilities of answer options under a causal language model, many prompts at a time."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from acecausal.errors import ModelError
from align.prompting.options import Prompt
from align.scoring.layout import Method, differ_at_the_end, log_probs_of, option_logits_of, tokens_of
from align.scoring.passes import base_of, has_plain_head, no_trie
from align.scoring.selfcheck import few_rows_suffice, self_check


class Scorer:
    """Scores the options of prompts with a causal language model.

    Parameters
    ----------
    model : transformers causal language model, bare or wrapped by PEFT
        Without virtual prompt tokens: they shift every position.
    method : {"auto", "trie", "batch"}
        "trie" computes shared prefixes once, in tries of up to some thousand tokens, several to a pass. "batch" runs
        every sequence on its own row of right-padded batches, which any causal model can do. "auto" takes the trie
        where a self-check on short branching prompts finds it equal to the batch.
    budget : int
        Most tokens per forward pass, padding included; memory grows with it. With gradients, prompts that need several
        passes are computed twice, so that the activations of one pass are held at a time, unless the model itself
        recomputes its layers.

    Attributes
    ----------
    method : {"trie", "batch"}
        The method in use.
    note : str
        One sentence on why "auto" went to "batch"; '' otherwise.

    Raises
    ------
    ModelError
        If `method` is "trie" and the model cannot follow one, or the model prepends virtual prompt tokens.

    Warnings
    --------
    Position schemes that depend on the longest prompt of a pass (dynamic and long rotary scaling) make results depend
    on grouping once prompts exceed the model's original context length.
    """

    def __init__(self, model: nn.Module, *, method: Method = "auto", budget: int = 4096) -> None:
        if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
            raise ModelError(
                param="model", expected="no virtual prompt tokens", got=type(model).__name__, hint="use LoRA"
            )
        reason = "" if method == "batch" else (no_trie(base_of(model)) or self_check(model))
        if method == "trie" and reason:
            raise ModelError(reason, param="method", got="trie", hint="use 'auto' or 'batch'")
        self.model, self.budget = model, budget
        self.method: Method = "batch" if reason or method == "batch" else "trie"
        self._rows_suffice = few_rows_suffice(model, self.method)
        self._longest = getattr(base_of(model).config, "max_position_embeddings", None) or 10**9
        self.note = f"Prompts run as padded batches, without sharing prefixes: {reason}." if reason else ""

    def log_probs(self, prompts: Sequence[Prompt], *, model: nn.Module | None = None) -> list[Tensor]:
        """Log probability of each option after its prompt.

        Differentiable with respect to the model's parameters. The caller decides on gradient and training mode.

        Parameters
        ----------
        prompts : sequence of Prompt
        model : optional
            The same model as wrapped by a trainer (data parallel), whose forward is to be called instead.

        Returns
        -------
        list of fp32 tensors
            One per prompt, shape (K,): natural log over the full vocabulary, summed over the option's tokens. The
            options do not sum to 1: what is missing is the mass on other continuations.
        """
        self._check_length(prompts)
        return log_probs_of(self.model if model is None else model, prompts, self.method, self.budget)

    def tokens(self, prompts: Sequence[Prompt]) -> tuple[int, int]:
        """Count the tokens of prompts with their options, and how many of them `log_probs` computes."""
        return tokens_of(prompts, self.method, self.budget)

    def _check_length(self, prompts: Sequence[Prompt]) -> None:
        """Refuse prompts that are longer than the model was made for: what it says beyond that means nothing."""
        longest = max((len(p.tokens) + max(map(len, p.options)) for p in prompts), default=0)
        if longest > self._longest:
            raise ModelError(
                "is too long for the model", param="prompt", expected=f"up to {self._longest} tokens", got=longest,
                hint="fewer attributes in a persona, or a model of a longer context",
            )  # fmt: skip

    def option_log_probs(self, prompts: Sequence[Prompt], *, model: nn.Module | None = None) -> list[Tensor]:
        """Log probability of each option among the options, as `log_probs` normalised, at less expense.

        Where the options of all prompts differ in their last token only, just the options' rows of the output head are
        computed, at one position per prompt.

        Returns
        -------
        list of fp32 tensors
            One per prompt, shape (K,), whose exponentials sum to 1.
        """
        self._check_length(prompts)
        used = self.model if model is None else model
        # an adapter may have been put on the head since the check
        few = self._rows_suffice and has_plain_head(used) and all(map(differ_at_the_end, prompts))
        if prompts and few:
            found = option_logits_of(used, prompts, self.method, self.budget)
        else:
            found = log_probs_of(used, prompts, self.method, self.budget)
        return [values.log_softmax(dim=-1) for values in found]
