"""How texts of files are encoded that do not say so: asked for, or guessed from the letters that come out."""

from __future__ import annotations

import codecs
import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from acecausal.errors import DataError

#: How files begin that say their encoding; that of UTF-16 begins that of UTF-32.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
#: How files begin that gzip has packed.
GZIP = b"\x1f\x8b"
#: What `--encoding guess` chooses from beside UTF-8, with the letters of its languages; the frequent ones stand before
#: the bar, and count thrice.
ALPHABETS = {
    "cp1252": "éèêëàâáäãåæçíìîïñóòôöõøœúùûüß¿¡«»°’‘“”–|",
    "cp1250": "ąćęłńóśźżáčďéěíňřšťúůýžőűöüâăîşţšđ„”–|",
    "cp1254": "çğıİöşüâîûÇĞÖŞÜ’“”|",
    "cp1257": "āčēģīķļņšūžąęėįųšõäöü„“–|",
    "cp1251": "оеаинтсрвлкмдпуяі«»№–|ыьгзбчйхжшюцщэфъёїєґўђјљњћџ",
    "koi8-r": "оеаинтсрвлкмдпуя|ыьгзбчйхжшюцщэфъё",
    "cp866": "оеаинтсрвлкмдпуя|ыьгзбчйхжшюцщэфъё",
    "cp1253": "αοιετσνηυρπκμλςωίόά«»–|γέδήχθύφβώξζψϊϋ",
    "cp1255": "יוהלאתרבמשנםכ|עדחפטקסגצזןךץף",
    "cp1256": "اليمونرتبةعد،؟|سفهكقحجشطصخأضذثىئزغظإآؤءپچژگ",
}
UNDECLARED = "does not say how its texts are encoded, and is no UTF-8"
#: Bytes that a guess looks at where nobody asked for one.
LOOKED_AT = 1 << 20
#: Of these languages accented letters stand among plain ones; the others have words of their own letters alone.
LATIN = ("cp1252", "cp1250", "cp1254", "cp1257")


def unpacked(path: Path) -> BinaryIO:
    """Open a file, packed by gzip or not, for its bytes."""
    with path.open("rb") as stream:
        packed = stream.read(2) == GZIP
    return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]


def marked(raw: bytes) -> str | None:
    """Give the encoding that a file's first bytes say; None where they say none."""
    return next((name for mark, name in MARKS.items() if raw.startswith(mark)), None)


def guess(raw: bytes) -> str | None:
    """Guess the encoding of a text of one language: the one that makes of it words of its frequent letters.

    Returns
    -------
    str or None
        None where none does.
    """
    if _decodes(raw, "utf-8"):
        return "utf-8"
    scores = {name: _score(raw, name) for name in ALPHABETS}
    best = max(scores, key=scores.__getitem__)  # the first of equals
    return best if scores[best] > (0.7 if _pairs(raw) else 0.4) else None


def _pairs(raw: bytes) -> bool:
    """Whether bytes beyond ASCII always come in pairs, as where two mean a character: in Chinese, Japanese, Korean."""
    runs = set(re.findall(rb"[\x80-\xff]+", raw))
    return len(runs) > 2 and any(all(_decodes(run, name) for run in runs) for name in ("gb2312", "euc_kr", "euc_jp"))


def _decodes(raw: bytes, name: str) -> bool:
    try:
        raw.decode(name)
    except UnicodeDecodeError:
        return False
    return True


def _score(raw: bytes, name: str) -> float:
    """Give the share of the letters beyond ASCII that are letters of its languages in likely places, by frequency."""
    try:
        text = raw.decode(name)
    except UnicodeDecodeError:
        return 0.0
    if re.search("[\u2500-\u259f]", text):  # lines and boxes
        return 0.0
    frequent, _, others = ALPHABETS[name].partition("|")
    worth = dict.fromkeys(others, 1 / 3) | dict.fromkeys(frequent, 1.0)
    beyond = [letter for letter in text if not letter.isascii()]
    good = sum(worth.get(letter, 0.0) for letter in beyond if not letter.isalpha())
    for word in re.findall(r"[^\W\d_]+", text):
        own = [letter for letter in word if not letter.isascii()]
        likely = 2 * len(own) <= len(word) or len(word) <= 2 if name in LATIN else len(own) == len(word)
        if not own or not likely or (word[1:] != word[1:].lower() and word != word.upper()):
            continue
        loud = len(word) > 2 and word == word.upper() != word.lower()  # seldom meant
        good += (0.5 if loud else 1.0) * sum(worth.get(letter, worth.get(letter.lower(), 0.0)) for letter in own)
    return good / len(beyond) if beyond else 0.0


def _wide(raw: bytes) -> str | None:
    """Name the byte order of UTF-16 without a mark, in which every other byte of plain letters is zero."""
    if raw.count(0) < 0.3 * len(raw):
        return None
    return "utf-16-le" if raw[1::2].count(0) > raw[::2].count(0) else "utf-16-be"


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
    content = raw(path)
    if marked(content):
        return None
    found = guess(content)
    if found is None:
        raise DataError("its encoding cannot be guessed", param=str(path), hint="name it: --encoding cp1252, say")
    return found


def undeclared(path: Path, encoding: str | None) -> DataError:
    """Build the error for a file that does not say how its texts are encoded, or not as was said; with a guess."""
    if re.search(r"\.[ct]sv(\.gz)?$", path.name, re.IGNORECASE):
        with unpacked(path) as stream:
            raw = stream.read(LOOKED_AT)
        found = _wide(raw) or guess(raw[: raw.rfind(b"\n") + 1])
        if found and found != encoding:
            line = next((line for line in raw.split(b"\n") if not line.isascii()), b"") if "16" not in found else b""
            shown = f", as in {line.decode(found, 'replace').strip()[:60]!r}" if line else ""
            return DataError(
                "its texts are in another encoding" if encoding else UNDECLARED,
                param=str(path), got=encoding or "", hint=f"a guess: {found}{shown}; if so, --encoding {found}",
            )  # fmt: skip
    return DataError(
        "its texts are in another encoding" if encoding else UNDECLARED,
        param=str(path),
        got=encoding or "",
        hint="--encoding cp1252 (Western Europe), cp1250 (Central Europe), cp1251 (Cyrillic) and so on; "
        "--encoding guess takes what fits its letters",
    )
