"""Which lists of English options have an order: an explicit list of wordings, and nothing beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

from acecausal.cube.files import spelling

#: What is said of X by the steps of a scale, from one end to the other, each step in its wordings. X is the same in all
#: options of a question; an option without X goes with any.
_STEPS = (
    (
        "extremely X|completely X", "very X", "(somewhat|fairly|moderately|pretty|mostly) X",
        "not (too|very) X", "not X at all|not an? X( at all)?|not( at all)? X|not at all",
    ),
    ("very serious( problem)?", "somewhat serious( problem)?", "not too serious( (of )?(a )?problem)?",
     "not a problem( at all)?"),
    ("(a )?(very big|great) X", "(a )?(big|major|moderate|moderately big) X", "(a )?(small|minor) X",
     "not an? X( at all)?|no X( at all)?"),
    ("(a )?(great deal|lot|large)( of)?( X)?", "(a )?fair amount( of)?( X)?|some( X)?|somewhat( X)?|fairly",
     "not too much( X)?|not (very )?much( X)?|(only )?a little( X)?|(very )?little( X)?|only a few X",
     "not at all|no X( at all)?|not X|none( at all)?|nothing( at all)?"),
    ("(X )?(a great deal|a lot)", "(X )?(a fair amount|some)", "(X )?(a little|not too much)",
     "(X )?not at all|not X|do(es)? not X( at all)?"),
    ("all( of (it|them))?|all or almost all of it", "all or most|most( of (it|them))?", "many|about half",
     "(just )?some( of (it|them))?", "only (a few|some of them)|very (few|little of it)", "none( of (it|them))?"),
    ("always( X)?|every day|all of the time", "most of the time|all or most of (the )?time|almost every day"
     "|more than half of the time", "often( X)?|about half of the time", "sometimes( X)?|(only )?some of the time"
     "|less than half of the time", "(rarely|hardly ever)( X)?|only a little of the time",
     "never( X)?|none of the time"),
    ("(will )?definitely X", "(will )?probably X", "(will )?probably not X", "(will )?definitely not X"),
    ("(a )?top priority", "some priority|important but lower priority|a lower priority",
     "no priority|not too important", "should not (be done|work on this issue)"),
    ("one of the most important priorities", "a very important priority", "a lower priority",
     "not a priority at all"),
    ("essential", "important but not essential", "not (too )?important",
     "not( important)? at all( important)?|should not be done"),
    ("excellent", "good", "(only )?fair", "poor"),
    ("the best", "above average", "average", "below average", "the worst"),
    ("very strong X", "strong X", "not very strong X", "there are not X"),
)  # fmt: skip
#: Two ends that are opposites: very P, P, neither, N, very N.
_OPPOSITES = (
    ("agree", "disagree"), ("favor", "oppose"), ("support", "oppose"), ("approve", "disapprove"), ("good", "bad"),
    ("good", "poor"), ("positive", "negative"), ("favorable", "unfavorable"), ("satisfied", "dissatisfied"),
    ("easy", "difficult"), ("safe", "unsafe"), ("similar to", "different from"), ("likely", "unlikely"),
)  # fmt: skip
_VERY = "(very|strongly|completely|a very)"
_RATHER = "((somewhat|mostly|fairly|a somewhat) )?"
#: More and less of X, and between them as much as now.
_MOVED = (
    ("more", "less"), ("more", "fewer"), ("better", "worse"), ("increased?", "decreased?"), ("improve", "worsen"),
    ("too much", "too little|not enough"), ("too (great|many)", "too (small|few)"), ("stronger", "weaker"),
    ("larger", "smaller"), ("greater", "lesser"), ("change for the better", "change for the worse"),
    ("better off", "worse off"), ("gotten better", "gotten worse"), ("help(s|ed|ing)?", "hurt(s|ing)?"),
)  # fmt: skip
_AS_NOW = (
    "(stay(ed)? )?(about )?the same|(about )?(the )?right( amount)?( of X)?|no (change|difference|effect|influence)"
    "|has not changed( much)?|neither (better nor worse|help(s|ed|ing)? nor hurt(s|ing)?)( X)?|keep the same"
    "|no X either way|(makes|does not make a|not much) (no )?difference( either way)?"
)


def ordered(options: Sequence[str]) -> list[int] | None:
    """Find the order of three or more options.

    Parameters
    ----------
    options : sequence of str
        In English.

    Returns
    -------
    list of int or None
        Their positions from one end of the scale to the other, the end that is listed first first; None if no list of
        known wordings has them all, each on a step of its own.
    """
    labels = [spelling(label).replace(",", "").rstrip(".") for label in options]
    if len(labels) < 3:
        return None
    for steps in _scales():
        for stem in _stems(steps, labels):
            places = [_step(steps, label, stem) for label in labels]
            if None not in places and len(set(places)) == len(places):
                order = sorted(range(len(labels)), key=lambda k: places[k] or 0)
                return order if order[0] < order[-1] else order[::-1]
    return None


def _step(steps: Sequence[re.Pattern[str]], label: str, stem: str) -> int | None:
    """Find the step that a label is on, if X is `stem`."""
    for number, step in enumerate(steps):
        found = step.fullmatch(label)
        if found and _stem(found) in ("", stem):
            return number
    return None


def _stems(steps: Sequence[re.Pattern[str]], labels: Sequence[str]) -> Iterator[str]:
    """Yield what X can be: what it is in one of the labels, shortest first, or nothing."""
    found = {_stem(match) for label in labels for step in steps if (match := step.fullmatch(label))}
    yield from sorted(found, key=lambda stem: (len(stem), stem))


def _stem(match: re.Match[str]) -> str:
    return next((text for name, text in match.groupdict().items() if text and name.startswith("x")), "")


@cache
def _scales() -> tuple[tuple[re.Pattern[str], ...], ...]:
    """Compile all scales."""
    scales = list(_STEPS)
    for good, bad in _OPPOSITES:
        neither = f"neither (a )?{good} n?or (an? )?{bad}( X)?|no X either way"
        scales.append((
            f"{_VERY} {good}( X)?", f"{_RATHER}{good}( X)?", neither, f"{_RATHER}{bad}( X)?", f"{_VERY} {bad}( X)?",
        ))  # fmt: skip
    for more, less in _MOVED:
        ends = [f"(a )?({end})( X)?" for end in (more, less)]
        scales.append((ends[0], _AS_NOW, ends[1]))
    scales.append((
        "help(s|ed|ing)? a lot", "help(s|ed|ing)? a little", "neither help(s|ed|ing)? nor hurt(s|ing)?",
        "hurt(s|ing)? a little", "hurt(s|ing)? a lot",
    ))  # fmt: skip
    return tuple(tuple(_compiled(step) for step in steps) for steps in scales)


def _compiled(step: str) -> re.Pattern[str]:
    numbers = iter(range(step.count("X")))
    return re.compile(re.sub("X", lambda _: f"(?P<x{next(numbers)}>.+?)", step))
