"""Orders of options, by hand: found where the wordings are known, whatever the listing; nothing guessed elsewhere."""

from __future__ import annotations

import pytest

from acecausal.exchange.scales import ordered


@pytest.mark.parametrize(
    "scale",
    [
        "A lot | Some | Not much | Not at all",
        "A great deal of confidence | A fair amount of confidence | Not too much confidence | No confidence at all",
        "Very confident | Somewhat confident | Not too confident | Not confident at all",
        "Very favorable | Somewhat favorable | Somewhat unfavorable | Very unfavorable",
        "Strongly favor | Favor | Oppose | Strongly oppose",
        "Major problem in my area | Minor problem in my area | Not a problem in my area",
        "All or most of the time | Some of the time | Only a little of the time | None of the time",
        "Helps a lot | Helps a little | Neither helps nor hurts | Hurts a little | Hurts a lot",
        "Too much power and influence | About the right amount | Not enough power and influence",
        "Mostly positive | Neither positive nor negative | Mostly negative",
        "Will definitely happen | Will probably happen | Will probably not happen | Will definitely not happen",
    ],
)
def test_ordered__whatever_the_listing(scale):
    options = scale.split(" | ")
    steps = list(range(len(options)))
    assert ordered(options) == steps
    assert ordered(options[::-1]) == steps
    assert ordered([options[-1], *options[:-1]]) == [0, *steps[:0:-1]]  # the end that is listed first comes first
    assert ordered([*options[::2], *options[1::2]]) is not None


@pytest.mark.parametrize(
    "options",
    [
        "Men are better | Women are better | No difference",
        "Very confident | Somewhat worried | Not at all happy",
        "A lot | A great deal | Not at all",
        "Good | Bad | Both (VOL)",
        "Very favorable | Somewhat favorable | Somewhat unfavorable | Very unfavorable | Never heard of",
        "Major problem | Minor reason | Not a threat",
        "Yes | No",
        "Tea | Coffee | Neither",
    ],
)
def test_ordered__nothing_is_guessed(options):
    assert ordered(options.split(" | ")) is None
