"""Who the groups of OpinionQA's and GlobalOpinionQA's rows are: attributes and levels, or countries; and everybody."""

from __future__ import annotations

import re

import numpy as np

from acecausal.exchange.association import pool
from acecausal.exchange.choices import Log
from acecausal.exchange.rows import Groups
from acecausal.exchange.text import shown
from acecausal.survey.countries import named

#: The attribute whose levels are countries; the one whose levels, men and women, are everybody; the first baseline.
NATION, SEX, FIRST_NATION = "nation", "SEX", "USA"
#: Attribute to levels in order, the first is the baseline, each with its label and its wording in a persona.
LEVELS = {
    "POLPARTY": {"Democrat": ("Democrats", "a Democrat"), "Republican": ("Republicans", "a Republican")},
    "POLIDEOLOGY": {
        "Conservative": ("conservatives", "a politically conservative adult"),
        "Moderate": ("moderates", "a politically moderate adult"),
        "Liberal": ("liberals", "a politically liberal adult"),
    },
    "RELIG": {
        "Protestant": ("Protestants", "a Protestant"),
        "Atheist": ("atheists", "an atheist"),
        "Muslim": ("Muslims", "a Muslim"),
        "Hindu": ("Hindus", "a Hindu"),
        "Jewish": ("Jews", "a Jewish adult"),
    },
    "RACE": {
        "White": ("White", "a White adult"),
        "Black": ("Black", "a Black adult"),
        "Asian": ("Asian", "an Asian adult"),
        "Hispanic": ("Hispanic", "a Hispanic adult"),
    },
    "EDUCATION": {
        "Less than high school": ("less than high school", "an adult who did not finish high school"),
        "College graduate/some postgrad": ("college graduates", "a college graduate"),
    },
    "INCOME": {
        "Less than $30,000": ("less than $30,000", "an adult with a family income of less than $30,000 a year"),
        "$100,000 or more": ("$100,000 or more", "an adult with a family income of $100,000 or more a year"),
    },
    "CREGION": {
        "Northeast": ("Northeast", "an adult living in the Northeast of the country"),
        "South": ("South", "an adult living in the South of the country"),
    },
    SEX: {"Male": ("men", "a man"), "Female": ("women", "a woman")},
}
WORDS = {(name, level): words for name, levels in LEVELS.items() for level, words in levels.items()}
ORDERS = {name: list(levels) for name, levels in LEVELS.items()}

_SAMPLE = re.compile(r"(?P<country>.+?) \((?P<sample>[\w -]*national sample)\)", re.IGNORECASE)


def nation(written: str, log: Log) -> tuple[str, tuple[str, str]]:
    """Name a country as it is written.

    Returns
    -------
    level : str
        Its code in ISO 3166, and which sample of it, where that is said: one that is not national speaks for others.
        As written (and noted) where it has no code.
    words : tuple of str
        Its label, and how a persona words it.
    """
    sample = _SAMPLE.fullmatch(written)
    country = sample["country"] if sample else written
    row = named(country)
    if row is None:
        log.noted[f"country without a code in ISO 3166 (kept as written): {shown(country)}"] += 1
    code, name = (row["alpha3"], row["name"]) if row else (country, country)
    which = sample["sample"].lower() if sample else ""
    label = name.removeprefix("the ") + (f" ({which})" if which else "")
    return f"{code} {which}".rstrip(), (label, f"an adult living in {name}")


def everybody(groups: Groups, attribute: str, log: Log) -> None:
    """Fill the persona `all`, in place, with the mean over the levels of one attribute, where all of them are there.

    Countries weigh by their respondents, and those that were not asked are not missed. The sexes weigh by their median
    number of respondents over all questions: a single number may be a fraction of the true one.
    """
    names = [a.name for a in groups.lattice.attributes]
    if attribute == NATION:
        pool(groups.response, groups.n, groups.lattice, [0], over=names.index(NATION))
        return
    if attribute in names:
        levels = (groups.lattice.granularity == 1) & (groups.lattice.codes[:, names.index(attribute)] >= 0)
        n = groups.n[:, :, levels]
        weight = np.array([np.median(one[one > 0]) for one in np.moveaxis(n, 2, 0)])
        mean = np.einsum("k,cvko->cvo", weight / weight.sum(), groups.response[:, :, levels])
        groups.n[:, :, 0] = np.where(n.min(axis=2) > 0, n.sum(axis=2), 0)
        groups.response[:, :, 0] = np.where(groups.n[:, :, :1] > 0, mean, np.nan)
    if missing := int((groups.n[:, :, 0] == 0).sum()):
        log.noted[f"questions without the persona all (not asked of each level of {attribute})"] += missing
