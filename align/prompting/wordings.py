"""Ways of asking: the template, the order of the options, and what an option is answered by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from string import ascii_uppercase

import numpy as np

from acecausal.cube.files import Value
from acecausal.errors import AceError, unknown
from align.prompting.templates import TEMPLATES

ORDERS = ("forward", "reversed")
#: Orders that are drawn: permuted-17 is the 17th seed's.
PERMUTED = "permuted"
#: No list of options at all, so that they have no order: only their own words can answer, and not in every template.
UNLISTED = "unlisted"
LISTING = ("ace-align",)
MARKS = ("labels", "digits", "letters")

_PERMUTED = re.compile(rf"{PERMUTED}-(0|[1-9]\d{{0,8}})")


@dataclass(frozen=True, slots=True)
class Wording:
    """One way of asking.

    Attributes
    ----------
    template : str
        One of `TEMPLATES`.
    order : str
        Order in which the options are listed, ``forward``, ``reversed``, or ``permuted-N`` with the seed of a
        permutation; options that are pinned keep their place. Or ``unlisted``: they are not listed. Results are always
        in the order of meaning.
    marks : {'labels', 'digits', 'letters'}
        What an option is answered by: its own words; digits up to 9 options, and letters beyond; or letters.
    """

    template: str = "persona-last"
    order: str = "forward"
    marks: str = "labels"

    def __post_init__(self) -> None:
        if self.template not in TEMPLATES:
            raise unknown("--template", self.template, tuple(TEMPLATES))
        if self.order not in (*ORDERS, UNLISTED) and not _PERMUTED.fullmatch(self.order):
            raise unknown("--order", self.order, (*ORDERS, f"{PERMUTED}-N", UNLISTED))
        if self.marks not in MARKS:
            raise unknown("--marks", self.marks, MARKS)
        if not possible(self.template, self.order, self.marks):
            raise AceError(
                "cannot be asked", param="--order", expected="a list of the options for digits, letters and ace-align",
                got=self.label, hint="--order forward",
            )  # fmt: skip

    @property
    def label(self) -> str:
        """The wording as cubes name it."""
        return f"{self.template} {self.order} {self.marks}"

    def matches(self, parts: str) -> bool:
        """Whether it is one of the wordings that some of its parts name: "interview", "reversed digits" ..."""
        return set(parts.split()) <= set(self.label.split())


def possible(template: str, order: str, marks: str) -> bool:
    """Whether there is such a wording: without a list nothing stands behind a mark."""
    return order != UNLISTED or (marks == "labels" and template not in LISTING)


def crossed(templates: Sequence[str], orders: Sequence[str], marks: Sequence[str]) -> tuple[Wording, ...]:
    """Combine every template with every order and all marks, where that is possible; equal ones once."""
    every = list(product(templates, orders, marks))
    return tuple(dict.fromkeys(Wording(*parts) for parts in every if possible(*parts) or len(every) == 1))


def positions(value: Value, order: str) -> list[int]:
    """List the options' positions in the order of meaning as they are shown; pinned options keep their place."""
    shown = list(range(len(value.options)))
    free = [k for k in shown if not (value.pinned and value.pinned[k])]
    moved = dict(zip(free, _arranged(free, order), strict=True))
    return [moved.get(k, k) for k in shown]


def _arranged(free: list[int], order: str) -> list[int]:
    if drawn := _PERMUTED.fullmatch(order):
        return [free[k] for k in np.random.default_rng(int(drawn.group(1))).permutation(len(free))]
    return free[::-1] if order == "reversed" else free


def option_marks(n_options: int, marks: str) -> list[str]:
    """What stands before the options: digits for up to 9 of them, letters beyond, since "1" would begin "10"."""
    if marks == "digits" and n_options <= 9:
        return [str(k) for k in range(1, n_options + 1)]
    if n_options > len(ascii_uppercase):
        raise AceError("too many options to mark", param="value", expected="26 at most", got=n_options)
    return list(ascii_uppercase[:n_options])
