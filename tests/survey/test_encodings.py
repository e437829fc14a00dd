"""Files that do not say how their texts are encoded: asked for, guessed when asked, never mojibake in silence."""

from __future__ import annotations

import struct

import pandas as pd
import pyreadstat
import pytest
from click.testing import CliRunner

from acecausal.errors import DataError
from acecausal.survey.encodings import guess
from acecausal.survey.readers import read_labels, read_table
from cli.main import main

WORDS = {"cp1251": ["муж", "жен"], "cp1252": ["männlich", "frau"], "cp1253": ["άνδρας", "γυναίκα"]}
LABEL = {"cp1251": "Никогда", "cp1252": "öfter", "cp1253": "Ποτέ"}


def old_dta(path, encoding) -> None:
    """Write a Stata 10 file whose bytes are of this encoding: pandas writes Latin-1, a character for every byte."""
    as_latin = [text.encode(encoding).decode("latin-1") for text in (*WORDS[encoding], LABEL[encoding])]
    table = pd.DataFrame({"sex": as_latin[:2], "q": [1, 2]})
    table.to_stata(path, version=114, write_index=False, value_labels={"q": {1: as_latin[2]}})


def sav_without_encoding(path, encoding) -> None:
    """Write an SPSS file, then put other bytes in the place of its texts, and hide the records of its encoding."""
    parts = [text.encode(encoding) for text in (*WORDS[encoding], LABEL[encoding])]
    places = ["ABCDEFGHIJ"[: len(parts[0])], "KLMNOPQRST"[: len(parts[1])], "0123456789"[: len(parts[2])]]
    table = pd.DataFrame({"sex": places[:2], "q": [1.0, 2.0]})
    pyreadstat.write_sav(table, path, variable_value_labels={"q": {1: places[2]}})
    raw = path.read_bytes()
    for place, part in zip(places, parts, strict=True):
        assert place.encode() in raw
        raw = raw.replace(place.encode(), part)
    for subtype in (3, 20):
        raw = raw.replace(struct.pack("<ii", 7, subtype), struct.pack("<ii", 7, 99))
    path.write_bytes(raw)


def latin_csv(path, encoding) -> None:
    path.write_text(
        "sex,q\n" + "".join(f"{word},{k}\n" for k, word in enumerate(WORDS[encoding], 1)), encoding=encoding
    )


WRITE = {".dta": old_dta, ".sav": sav_without_encoding, ".csv": latin_csv}


@pytest.mark.parametrize("encoding", WORDS)
@pytest.mark.parametrize("suffix", WRITE)
def test_files__that_do_not_say(tmp_path, suffix, encoding):
    path = tmp_path / f"a{suffix}"
    WRITE[suffix](path, encoding)
    for read in (read_labels, lambda path: read_table(path, ["sex"])):
        if suffix != ".csv" or read is not read_labels:  # its header is ASCII
            with pytest.raises(DataError, match=r"(?s)a\.\w+: does not say how .*hint: .*--encoding cp12"):
                read(path)
    for asked in (encoding, "guess"):
        assert read_table(path, ["sex"], encoding=asked)["sex"].tolist() == WORDS[encoding]
        if suffix != ".csv":
            assert read_labels(path, encoding=asked).values["q"]["1"] == LABEL[encoding]
    assert read_table(path, ["q"], encoding=encoding)["q"].tolist() == ["1", "2"]


def test_dta__old_but_ascii_needs_nothing(tmp_path):
    pd.DataFrame({"sex": ["m", "f"]}).to_stata(tmp_path / "a.dta", version=114, write_index=False)
    assert read_table(tmp_path / "a.dta", ["sex"])["sex"].tolist() == ["m", "f"]


@pytest.mark.parametrize("version", [118, 119])
def test_dta__new_ones_are_utf8(tmp_path, version):
    pd.DataFrame({"sex": WORDS["cp1251"]}).to_stata(tmp_path / "a.dta", version=version, write_index=False)
    assert read_table(tmp_path / "a.dta", ["sex"])["sex"].tolist() == WORDS["cp1251"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv__says_it_by_its_mark(tmp_path, encoding):
    """As Excel saves "Unicode text"."""
    path = tmp_path / "a.csv"
    path.write_text("sex;q\nмуж;1\n", encoding=encoding)
    assert read_table(path, ["sex", "q"]).iloc[0].tolist() == ["муж", "1"]
    if encoding != "utf-16":
        assert read_table(path, ["sex"], encoding="utf-8")["sex"].tolist() == ["муж"]


SENTENCES = {
    "cp1252": [
        "Très important, où êtes-vous né ?",
        "¿Cuál es su opinión? Sí, mañana",
        "Größe überhaupt nicht",
        "Nej, på ön",
    ],
    "cp1250": [
        "Źle, częściej niż się żyje",
        "Příliš žluťoučký kůň",
    ],
    "cp1254": ["Kesinlikle katılıyorum, çok önemli değişiklik, şehir"],
    "cp1251": ["Совершенно не согласен", "Зовсім не згоден, їжа", "Муж"],
    "koi8-r": ["Совершенно не согласен", "Муж"],
    "cp866": ["Совершенно не согласен"],
    "cp1253": ["Διαφωνώ απόλυτα", "Γυναίκα"],
    "cp1255": ["לא מסכים בכלל"],
    "cp1256": ["لا أوافق على الإطلاق"],
    "utf-8": ["Совершенно не согласен", "plain ASCII"],
}


@pytest.mark.parametrize(("encoding", "text"), [(name, text) for name, texts in SENTENCES.items() for text in texts])
def test_guess__answers_of_many_languages(encoding, text):
    """What comes out reads as it was meant, whatever the name of the encoding."""
    found = guess(text.encode(encoding))
    assert found is not None
    assert text.encode(encoding).decode(found) == text


def test_guess__says_when_it_cannot(tmp_path):
    assert guess(bytes(range(128, 256))) is None
    (tmp_path / "a.csv").write_bytes(b"sex,q\n" + bytes(range(128, 256)) + b",1\n")
    with pytest.raises(DataError, match="cannot be guessed"):
        read_table(tmp_path / "a.csv", ["sex"], encoding="guess")


def test_commands__encoding(tmp_path):
    """The guess is said aloud; a name that is no encoding is a usage error."""
    path = tmp_path / "a.csv"
    path.write_text("country,sex,q\n" + "NO,муж,1\nNO,жен,2\nPL,муж,2\n" * 40, encoding="cp1251")
    found = CliRunner().invoke(main, ["codebooks", "new", str(path)])
    assert found.exit_code == 1
    assert "--encoding" in found.output
    found = CliRunner().invoke(main, ["codebooks", "new", str(path), "--encoding", "guess"])
    assert found.exit_code == 0
    assert "read as cp1251, a guess" in found.stderr
    assert "муж" in found.stdout
    (tmp_path / "b.yaml").write_text(found.stdout, encoding="utf-8")
    for command in ("codebooks check", "estimate --dry-run"):
        run = [*command.split(), str(path), "--codebook", str(tmp_path / "b.yaml"), "--encoding"]
        assert CliRunner().invoke(main, [*run, "windows-1251"]).exit_code == 0
        assert CliRunner().invoke(main, [*run, "cp12"]).exit_code == 2


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("gb18030", "是 否 从不 总是"),
        ("gb18030", "男 女 大学 小学 同意 非常同意"),
        ("euc_kr", "예 아니오 전혀 항상 매우"),
        ("euc_jp", "はい いいえ 表示 いつも"),
        ("shift_jis", "はい いいえ 表示 いつも"),
        ("big5", "是 否 從不 總是"),
        ("cp874", "ใช่ ไม่ใช่ ชาย"),
    ],
)
def test_guess__what_it_does_not_know_is_no_guess(encoding, words):
    """Chinese was read as Western European: `´Ó²»` for never."""
    assert guess(f"q,{words}\n".replace(" ", "\n").encode(encoding)) is None
