"""Personas as sentences, as other programs put them to models."""

from __future__ import annotations

import re


def you_are(persona: str, country: str) -> str:
    """Tell a model who it is, in a sentence whatever the persona leaves open.

    Parameters
    ----------
    persona : str
        Phrases joined by commas; where the first is no noun (no gender is told), an adult has the others.
    country : str
        As it stands in a sentence.
    """
    noun = re.match(r"(an?|the|(some|any)(one|body))\b", persona, re.IGNORECASE)
    return f"You are {persona if noun else f'an adult, {persona}'}, living in {country}."
