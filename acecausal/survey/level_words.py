"""Names and phrases for levels, guessed from what they are called; and the order that the words of answers tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: Signs that change what a label means; without them `<HS` and `HS` would be one name.
SIGNS = {
    "<=": " at most ",
    ">=": " at least ",
    "<": " under ",
    ">": " over ",
    "+": " plus ",
    "%": " percent ",
    "&": " and ",
}
PHRASES = {
    "gender": {
        **dict.fromkeys(("male", "man", "men", "m"), "a man"),
        **dict.fromkeys(("female", "woman", "women", "f"), "a woman"),
    },
    "religion": {"no": "not religious", "none": "not religious", "yes": "religious"},
    "residence": {
        **dict.fromkeys(("urban", "city", "town"), "living in a city or town"),
        **dict.fromkeys(("rural", "village", "countryside"), "living in the countryside"),
        **dict.fromkeys(("suburban", "suburb"), "living in a suburb"),
    },
}
#: Of these a label can stand in a sentence as it is, if it is a word or a few: "married", "Hindu", "White".
ADJECTIVES = ("marital", "religion", "race", "orientation")
#: How far words go, from the least to the most; each family by itself.
STEPS = (
    (
        r"(very )?strongly disagree|disagree (very )?strongly|completely disagree|totally disagree",
        r"disagree|somewhat disagree|disagree somewhat|rather disagree|mostly disagree",
        r"neither( agree nor disagree)?|neutral|undecided|in between",
        r"agree|somewhat agree|agree somewhat|rather agree|mostly agree",
        r"(very )?strongly agree|agree (very )?strongly|completely agree|totally agree",
    ),
    (
        r"never|not at all",
        r"almost never|hardly ever|rarely|seldom",
        r"sometimes|occasionally|now and then",
        r"often|frequently|most(ly)?( of( the)? time)?|usually",
        r"(almost )?always",
    ),
    (
        r"not( at all)?( \w+)?|none|no",
        r"not (very|much|so)( \w+)?|(only )?a little|slightly( \w+)?|hardly( \w+)?",
        r"somewhat( \w+)?|fairly( \w+)?|moderately( \w+)?|rather( \w+)?|some",
        r"very( \w+)?|a lot|(very )?much|a great deal",
        r"extremely( \w+)?|completely( \w+)?",
    ),
    (r"no", r"yes"),
    (r"low", r"middle|medium|average", r"high"),
)


def level_names(labels: Iterable[str], *, keep: bool = False) -> list[str]:
    """Name levels after their labels, each differently; `keep`: as they are, where they can be names."""
    found: list[str] = []
    for position, label in enumerate(labels):
        plain = keep and re.fullmatch(r"[A-Za-z0-9_]+", label)
        name = label if plain else level_name(label) or f"level_{position}"
        found.append(name if name not in found else f"{name}_{position}")
    return found


def level_name(label: str) -> str:
    """Name a level after its label: letters, digits and _; signs that change the meaning as words."""
    text = re.sub(r"^-(?=\d)", "minus ", label.strip())
    text = re.sub(r"(?<=\d)\s*[-\u2013]\s*(?=\d)", " to ", text)
    text = re.sub("|".join(map(re.escape, SIGNS)), lambda sign: SIGNS[sign[0]], text)
    return re.sub(r"\W+", "_", text.strip().lower(), flags=re.ASCII).strip("_")[:40]


def phrase(kind: str, about: str, label: str) -> tuple[str, bool]:
    """Word a level as it stands after "a person who is" or the like.

    Parameters
    ----------
    kind, about, label : str
        Which attribute, what it is called, and the level's label.

    Returns
    -------
    tuple of (str, bool)
        The phrase, and whether it is one: otherwise it is "attribute: level", to be worded by somebody.
    """
    plain = re.sub(r"\W+", " ", label.casefold()).strip()
    known = PHRASES.get(kind, {}).get(plain)
    if known:
        return known, True
    worded = bool(re.search(r"[a-z\u00df-\u024f]{2}|[^\W\d_]{4}", label))  # no code, as SA and NSW are
    if kind == "age" and re.fullmatch(r"\d+( ?(-|\u2013|to) ?\d+)?", label):
        return f"{label} years old", True
    if kind in ADJECTIVES and plain == "other":
        return f"of another {kind}", kind != "marital"
    if kind in ADJECTIVES and worded and plain not in ("no", "yes") and len(label) < 40:
        return (label[0].lower() + label[1:] if kind in ("marital", "orientation") else label), True
    if kind == "region" and worded:
        return f"living in {label}", True
    return f"{about}: {label}", False


def _what(text: str) -> str:
    """Say what a label grades, "satisfied" of "very satisfied": dissatisfied and satisfied are not one scale."""
    last = text.rpartition(" ")[2]
    graded = re.match(
        r"(not|very|fairly|somewhat|slightly|rather|moderately|extremely|completely|hardly|a little)\b", text
    )
    return last if graded and last not in ("all", "much", "lot", "deal", "little", "so") and " " in text else ""


def told_order(labels: Sequence[str]) -> list[int] | None:
    """Order answers by their words, from the least to the most.

    Parameters
    ----------
    labels : sequence of str
        At least two.

    Returns
    -------
    list of int or None
        Positions in that order; None where the words do not tell, or two say as much.
    """
    plain = [re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)).strip().casefold() for label in labels]
    plain = [re.sub(r"^not(?=very|at|much)", "not ", text) for text in plain]
    for family in STEPS:
        places = [[i for i, step in enumerate(family) if re.fullmatch(step, text)] for text in plain]
        if all(places):
            found = [place[-1] for place in places]
            if len(set(found)) == len(found) and len(set(map(_what, plain)) - {""}) <= 1:
                return sorted(range(len(found)), key=found.__getitem__)
    return None
