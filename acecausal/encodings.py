"""How texts of files are encoded that do not say so: asked for, or guessed from the letters that come out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from acecausal.errors import DataError

#: What `--encoding guess` chooses from beside UTF-8, each with the letters that are frequent in its languages.
ALPHABETS = {
    "cp1252": "éèêëàâáäãåæçíìîïñóòôöõøœúùûüßß¿¡«»°’‘“”–",
    "cp1250": "ąćęłńóśźżáčďéěíňřšťúůýžőűöüâăîşţšđ„”–",
    "cp1254": "çğıİöşüâîûÇĞÖŞÜ’“”",
    "cp1257": "āčēģīķļņšūžąęėįųšõäöü„“–",
    "cp1251": "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґўђјљњћџ«»№–",
    "koi8-r": "абвгдежзийклмнопрстуфхцчшщъыьэюяё",
    "cp866": "абвгдежзийклмнопрстуфхцчшщъыьэюяё",
    "cp1253": "αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώϊϋ«»–",
    "cp1255": "אבגדהוזחטיךכלםמןנסעףפץצקרשת",
    "cp1256": "ابتثجحخدذرزسشصضطظعغفقكلمنهويىةأإآؤئءپچژگ،؟",
}
#: Of these languages accented letters stand among plain ones; the others have words of their own letters alone.
LATIN = ("cp1252", "cp1250", "cp1254", "cp1257")


def guess(raw: bytes) -> str | None:
    """Guess the encoding of a text of one language: the one that makes of it words of its frequent letters.

    Returns
    -------
    str or None
        None where none does.
    """
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8"
    scores = {name: _score(raw, name) for name in ALPHABETS}
    best = max(scores, key=scores.__getitem__)  # the first of equals
    return best if scores[best] > 0.5 else None


def _score(raw: bytes, name: str) -> float:
    """Give the share of the letters beyond ASCII that are frequent ones in likely places."""
    try:
        text = raw.decode(name)
    except UnicodeDecodeError:
        return 0.0
    frequent = set(ALPHABETS[name])
    good = total = 0
    for word in re.findall(r"\S+", text):
        beyond = [letter for letter in word if not letter.isascii()]
        if not beyond:
            continue
        total += len(beyond)
        plain = sum(letter.isascii() and letter.isalpha() for letter in word)
        likely = plain >= len(beyond) or len(word) <= 2 if name in LATIN else not plain
        turned = re.search(r"[^\W\d_]", word) and word[1:] != word[1:].lower() and word != word.upper()
        if likely and not turned:
            good += sum(letter.lower() in frequent or letter in frequent for letter in beyond)
    return good / total if total else 0.0


def resolve(path: Path, encoding: str | None, raw: Callable[[Path], bytes]) -> str | None:
    """Give the encoding to read a file by, None by what it says itself.

    Parameters
    ----------
    path : Path
    encoding : str, optional
        Of Python's names, or ``guess``.
    raw : callable of Path
        Gives the bytes of its texts.

    Raises
    ------
    DataError
        For a name that is none, or where nothing fits.
    """
    if encoding != "guess":
        return encoding
    found = guess(raw(path))
    if found is None:
        raise DataError("its encoding cannot be guessed", param=str(path), hint="name it: --encoding cp1252, say")
    return found


def undeclared(path: Path, encoding: str | None) -> DataError:
    """Build the error for a file that does not say how its texts are encoded, or not as was said."""
    return DataError(
        "its texts are in another encoding" if encoding else "does not say how its texts are encoded, and is no UTF-8",
        param=str(path),
        got=encoding or "",
        hint="--encoding cp1252 (Western Europe), cp1250 (Central Europe), cp1251 (Cyrillic) and so on; "
        "--encoding guess takes what fits its letters",
    )
