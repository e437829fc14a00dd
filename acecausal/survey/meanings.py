"""What labels say: whether anything at all, and whether one means another option than it stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

_WHO = (
    r"(?:i[md] |ive |(?:the )?(?:respondent|interviewee|r|i|they|you|person) (?:has |have |had |is |was |am |are )?)?"
)
_ABOUT = r"(?: (?:about|of|on) (?:it|that|this|them|these)(?: issue| question)?)?"
_SAY = r"(?:say|tell|answer|respond|reply|choose|decide|judge|disclose|state|rate|think|give an? (?:answer|opinion))"
_WHERE = r"(?: (?:in|on|at|of|to|by|for) (?:this |the |that |these )?"
#: Whole labels, or whole first parts of labels, that are no answer. Wordings, not words: to refuse to pay taxes is one.
_SILENT = re.compile(
    "|".join((
        rf"{_WHO}(?:do|does|did) not (?:really )?know(?: enough{_ABOUT}| what to)?(?: to {_SAY}| {_SAY})?{_ABOUT}",
        r"d ?k(?: n ?a)?|dnk",
        rf"{_WHO}(?:can|could) not (?:choose|answer|decide)",
        rf"{_WHO}(?:refused|refusal)|{_WHO}(?:refuse|decline)[sd]? (?:to|an?) (?:{_SAY}|response)(?: the question)?",
        rf"{_WHO}(?:would |d )?(?:prefer|rather|prefers|preferred)(?: to)? not(?: to)? {_SAY}",
        r"(?:no|non|not an?) ?(?:answer|response|reply|data|information)(?: given| provided| available)?",
        rf"{_WHO}(?:did not|not|un) ?(?:answer|answered|respond|reply)(?: the question)?",
        r"(?:not|non|in|un) ?applicable|does not apply|n ?a ?p?|i ?a ?p",
        r"(?:question |item )?not (?:asked|put|administered|included|covered|fielded)"
        rf"{_WHERE}(?:survey|country|countries|year|wave|round|version|form|ballot|questionnaire|interview|respondent"
        r"|sample|mode|study|web|all)\w*.*)?",
        rf"not (?:avail|available){_WHERE}(?:year|release|survey|country|file|edition|wave|round).*)?",
        r"(?:system |user |other |item |all )?missing(?: data| values?| code| answer| information| other| unknown)?",
        r"(?:question |item )?skipped(?: (?:on|in|by|due|question|item|web).*)?",
        r"not (?:ascertained|stated|recorded|coded|known|specified|determined|reported|released|imputable)|unknown",
        r"uncodeable|uncodable|invalid(?: answer| response| code)?|break ?off|interview terminated",
        r"filter|filtered|routed out|out of universe|valid skip|legitimate skip",
    ))
)  # fmt: skip
#: The same, unless they are the middle of a scale.
_SOFT = re.compile(
    "|".join((
        rf"{_WHO}(?:really )?(?:not|un) ?(?:sure|certain|decided){_ABOUT}",
        rf"{_WHO}(?:have |has )?no (?:opinion|view|idea|comment|judgement|judgment){_ABOUT}",
        rf"{_WHO}(?:have|has|did) not (?:thought|think|heard|formed an opinion)(?: much| enough)?{_ABOUT}",
        r"(?:it is |too )?(?:hard|difficult) to (?:say|tell|judge|choose|answer|decide)",
        rf"{_WHO}(?:can|could) not (?:say|tell|judge|rate)",
    ))
)  # fmt: skip
_PARTS = re.compile(r"[/;:,()\[\]{}|*\u2013\u2014]+|\s-+\s|\.\.+|\.$|\bor\b")

#: Words that say the same, and words that say two things.
_MEANT = {
    **dict.fromkeys(("man", "men", "male", "males"), ("man",)),
    **dict.fromkeys(("woman", "women", "female", "females"), ("woman",)),
    **dict.fromkeys(("single", "unmarried"), ("never", "marri")),
    **dict.fromkeys(("divorced", "separated", "widowed", "widow", "widower"), ("former", "marri")),
    **dict.fromkeys(("formerly", "former", "previously", "ex"), ("former",)),
    **dict.fromkeys(("no", "none", "non", "without", "nothing", "neither", "nobody", "nor", "cannot"), ("not",)),
    **dict.fromkeys(("picked", "mentioned", "named", "selected", "chosen", "checked"), ("picked",)),
    **dict.fromkeys(("village", "countryside", "farm", "rural"), ("rural",)),
}
#: Labels that differ in one of these do not mean the same, however many other words they share.
_TURNS = ({"not", "never"}, {"former"}, {"semi", "peri", "sub"})
_ENDING = re.compile(r"(?<=\w{4})(?:ed|ing|ly|s)$")
_SMALL = {
    *("a", "an", "the", "of", "or", "and", "to", "in", "at", "is", "are", "be", "been", "who", "which", "that", "with"),
    *("as", "it", "its", "on", "by", "for", "from", "has", "have", "do"),
}
#: A label contradicts a codebook if another option's wording is the same; or resembles it by more than ALIKE and by
#: CLEARER more than its own; or, where the two options' labels both are nearer to the other, by MUTUAL already.
ALIKE, CLEARER, MUTUAL = 0.5, 0.25, 0.35


def says_nothing(label: str, *, soft: bool = False) -> bool:
    """Guess from an English label whether its code is no answer, as "Don't know" or "Refused to answer".

    Parameters
    ----------
    label : str
    soft : bool, default False
        Take also "Not sure", "No opinion", "Hard to say" and the like, which can be answers: the middle of a scale, or
        its end, if it is about being sure.

    Returns
    -------
    bool
    """
    label = _unnumbered(label, None)
    first = next((part for part in _PARTS.split(label) if _plain(part)), "")
    found = (_plain(label), _plain(first))
    return any(_SILENT.fullmatch(text) or (soft and _SOFT.fullmatch(text)) for text in found)


def silent_codes(labels: Mapping[str, str]) -> list[str]:
    """Guess which codes of a column are no answers: by their labels, the soft ones only outside the answers.

    Parameters
    ----------
    labels : mapping of str to str
        The label of each code.

    Returns
    -------
    list of str
        Codes, in the order of `labels`.
    """
    answers = {key: label for key, label in labels.items() if not says_nothing(label, soft=True)}
    numbers = [number for key in answers if (number := number_of(key)) is not None]
    about_sure = any(re.search(r"sure\b|certain|decided", label, re.IGNORECASE) for label in answers.values())

    def guess(key: str) -> bool:
        if key in answers or says_nothing(labels[key]):
            return key not in answers
        number = number_of(key)
        inside = number is not None and bool(numbers) and min(numbers) < number < max(numbers)
        return not inside and not (about_sure and re.search(r"sure|certain|decided", labels[key], re.IGNORECASE))

    return [key for key in labels if guess(key)]


def number_of(key: str) -> float | None:
    """Read a code as a number, if it is one."""
    try:
        return float(key)
    except ValueError:
        return None


def contradictions(
    wordings: Sequence[Sequence[str]], place: Mapping[str, int], labels: Mapping[str, str], *, same: bool = False
) -> Iterator[tuple[str, int, int]]:
    """Find codes whose labels mean another option or level than the one that lists them.

    Parameters
    ----------
    wordings : sequence of sequence of str
        What each option is called; any of these may be the file's label.
    place : mapping of str to int
        The option of each code.
    labels : mapping of str to str
        The file's label of each code; codes without one, and codes that nobody lists, are passed over.
    same : bool, default False
        Only where the label is the other option's wording, word for word.

    Yields
    ------
    tuple of (str, int, int)
        The code, its option, and the option that its label means.
    """
    called = [tuple(dict.fromkeys(_unnumbered(text, None) for text in texts if text)) for texts in wordings]
    alike: dict[str, list[float]] = {}
    for key in place:
        label = _unnumbered(labels.get(key, ""), key)
        if label and label != key:
            told = dict.fromkeys((label, label.partition("(")[0].strip() or label))  # without what is explained
            alike[key] = [max(_alike(some, text) for some in told for text in texts) for texts in called]
    drawn: dict[tuple[int, int], bool] = {}
    for key, near in alike.items():
        for other, like in enumerate(near):
            if not same and like >= MUTUAL and like >= near[place[key]] + CLEARER:
                drawn[place[key], other] = True
    for key, near in alike.items():
        own = place[key]
        exact = [i for i, like in enumerate(near) if like == 1.0]
        other = exact[0] if exact else max(range(len(near)), key=near.__getitem__)
        if near[own] == 1.0 or other == own:
            continue
        clear = near[other] > ALIKE or (drawn.get((own, other)) and drawn.get((other, own)))
        if exact or (not same and clear and near[other] >= near[own] + CLEARER):
            yield key, own, other


def _unnumbered(label: str, key: str | None) -> str:
    """Cut a number before a label, as in "1 - Agree strongly"; without a sign after it only if it is the code."""
    label = " ".join(label.split())
    found = re.match(r"\(?(-?\d+|\.[a-z](?=:))\)?\s*([-.:=)]\s*)?(?=[^\W\d]|[\"'(\[])", label)
    return label[found.end() :] if found and (found[2] or found[1] == key) else label


@lru_cache(maxsize=20_000)
def _plain(text: str) -> str:
    if number_of(text) is not None:  # with its sign
        return text
    text = re.sub(r"['\u2019`]", "", re.sub(r"n['\u2019`]t\b", " not", text.casefold().replace("cannot", "can not")))
    text = re.sub(r"\b(do|does|did|can|could|would|have|has|is|are)nt\b", r"\1 not", text).replace("ca not", "can not")
    return " ".join(re.findall(r"[^\W_]+", text))


@lru_cache(maxsize=20_000)
def _words(text: str) -> frozenset[str]:
    """Words of a label without endings, in any order; numbers only where there is nothing else."""
    found = _plain(text).split()
    letters = [word for word in found if not word.isdigit()] or found
    large = [word for word in letters if word not in _SMALL] or letters
    return frozenset(token for word in large for token in _MEANT.get(word, (_ENDING.sub("", word)[:6],)))


def _alike(one: str, other: str) -> float:
    """Say how alike two labels are, from 0 to 1; 1 is word for word."""
    if _plain(one) == _plain(other):
        return 1.0
    some, every = _words(one), _words(other)
    turned = any(bool(some & turn) != bool(every & turn) for turn in _TURNS)
    return 0.99 * 2 * len(some & every) / (len(some) + len(every) or 1) * (0.25 if turned else 1.0)
