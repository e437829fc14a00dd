"""CSV: every row against the header; what stands before the rows; quotes, encodings, long cells."""

from __future__ import annotations

import csv
import gzip

import pandas as pd
import pytest

from acecausal.errors import DataError
from acecausal.survey import csv_files
from acecausal.survey.readers import read_labels, read_table

HEAD = "cntry,sex,w,q\n"
MISFITS = {
    "a decimal comma": ("NO,1,1,6,3\nNO,2,1,4,7\n", "line 2: 5 cells (2 of 2 rows)", "a decimal comma"),
    "a comma in one text": ("NO,1,2,3\nwell, yes,1,2,3\n", "line 3: 5 cells (1 of 2 rows)", "a text with a comma"),
    "a backslash before a quote": (
        'NO,1,2,"say \\"hi, you\\""\nNO,1,2,3\n', "line 2: 5 cells (1 of 2 rows)", "written twice",
    ),
    "row names unquoted": ("1,NO,1,2,3\n2,NO,1,2,3\n", "line 2: 5 cells (2 of 2 rows)", "row.names = FALSE"),
    "a cut line": ("NO,1,2,3\nNO,1,2\nNO,1,2,3\n", "line 3: 3 cells (1 of 3 rows)", "a line that was cut"),
    "after blank and quoted lines": ('NO,1,2,"a\nb"\n\nNO,1,2,3,4\n', "line 5: 5 cells (1 of 2 rows)", ""),
    "an open quote": ('NO,1,2,"3\nNO,1,2,3\nNO,1,2,3\n', "line 2: 4 cells", "swallowed"),
    "an open quote in the middle": ('NO,"1,2,3\nNO,1,2,3\nNO,1,2,3\n', "line 2: 2 cells", "runs over 3 lines"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_rows__held_against_the_header(tmp_path, case, ending):
    rows, got, hint = MISFITS[case]
    path = tmp_path / "a.csv"
    path.write_text((HEAD + rows).replace("\n", ending), newline="")
    if case == "an open quote":  # its row has the cells of the header: what it swallowed tells
        got, hint = "line 2: a cell that runs to line 4 and looks like rows", "close the quote"
    with pytest.raises(DataError) as caught:
        read_table(path, ["sex"])
    assert got in str(caught.value)
    assert hint in str(caught.value).rpartition("hint: ")[2]
    assert "expected: 4 cells" in str(caught.value) or case == "an open quote"


def test_rows__a_closed_quote_that_swallowed_some(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(HEAD + 'NO,1,2,"hello\nNO,1,2,b\nNO,2,2,"hi"\nNO,1,2,c\n')
    with pytest.raises(DataError, match=r"swallowed rows(?s:.*)line 2: a cell that runs to line 4"):
        read_table(path, ["q"])


SAID = ["I think, yes", "line one\n\nline two", "a, b\nc, d, e", "yes"]


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("swallowed", [1, 2, 40])
@pytest.mark.parametrize("place", [2, 4])
def test_rows__swallowed_by_a_quote_that_is_not_closed(tmp_path, said, swallowed, place):
    """Oracle: the rows that were written. What opens is a text with commas, blank lines or neither; rows go on."""
    rows = [[str(i), "NO", "2", "3"] for i in range(60)]
    for i, row in enumerate(rows):
        row.insert(place, f'"{said}' if i == 10 else '"fine"' if i == 10 + swallowed else "")
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["pid,cntry,q,r,s", *map(",".join, rows)]) + "\n")
    first = 12 + said.count("\n")
    with pytest.raises(DataError, match=rf"swallowed rows(?s:.*)line 12: (?s:.*)line {first + swallowed}"):
        read_table(path, ["pid"])


def test_rows__texts_of_many_lines_are_no_rows(tmp_path):
    """Lists, pasted tables and quotes inside: as many separators as a row has, by chance. Oracle: what was written."""
    said = ["dear all,\nwell, yes\nperhaps, no\nbye, then", "a,b\nc,d\ne,f", 'he said "yes, now"\nand left, at once']
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["q", "said"], *([k, text] for k, text in enumerate(said))])
    assert read_table(path, ["q"])["q"].tolist() == ["0", "1", "2"]


def test_rows__line_breaks_and_separators_in_quotes_are_texts(tmp_path):
    """Oracle: Python's csv writer."""
    said = ["one\ntwo, three\nfour", 'a "quoted" word', "", " x ", "\nNO,1\n", "a\r\nb"]
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["cntry", "said", "q"], *(["NO", text, k] for k, text in enumerate(said))])
    found = read_table(path, ["said", "q"])
    assert found["q"].tolist() == list("012345")
    assert found["said"].tolist() == [text.strip() for text in said]


def test_rows__longer_than_a_block(tmp_path, monkeypatch):
    """Cells beyond Python's limit of 131,072 characters, and beyond what is parsed at once."""
    path = tmp_path / "a.csv"
    path.write_text(f"q,said\n1,{'x' * 200_000}\n2,y\n")
    monkeypatch.setattr(csv_files, "BLOCKS", (1000, 1 << 20))
    assert read_table(path, ["q", "said"])["said"].str.len().tolist() == [200_000, 1]
    path.write_text(f"q,{'x' * 200_000}\n1,2\n")
    assert read_table(path, ["q"])["q"].tolist() == ["1"]


def test_rows__a_misfit_is_found_among_many(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "1,2\n" * 300_000 + "1,2,3\n")
    with pytest.raises(DataError, match=r"line 300002: 3 cells \(1 of 300001 rows\)"):
        read_table(path, ["a"])


def test_nul__in_a_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"q,s\n1,a\0b\n2,c\n")
    assert read_table(tmp_path / "a.csv", ["q", "s"])["s"].tolist() == ["a\0b", "c"]


# --- what stands before the rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "name"), [('15" screen', '15" screen'), ('"15\\" screen"', '15\\ screen"')])
def test_header__a_quote_inside_a_cell_is_a_letter(tmp_path, cell, name):
    """Oracle: Python's csv reader. Counted by parity, such a quote took the next hundred rows into the header."""
    path = tmp_path / "a.csv"
    path.write_text("\n".join([f"pid,cntry,q,{cell}", *(f"{i},NO,{i % 3},2" for i in range(150))]) + "\n")
    assert next(csv.reader([path.read_text().splitlines()[0]]))[-1] == name
    assert read_labels(path).columns == ("pid", "cntry", "q", name)
    assert read_table(path, ["q"])["q"].tolist() == [str(i % 3) for i in range(150)]


@pytest.mark.parametrize("closed", ["", ',"fine"', ',"fine, well"'])
def test_header__a_quote_that_is_not_closed(tmp_path, closed):
    rows = [f"{i},NO,{i % 3}{closed if i == 5 else ',' if closed else ''}" for i in range(150)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(['pid,cntry,q,"open', *rows]) + "\n")
    with pytest.raises(DataError, match=r"quote in the header(?s:.*)line 1"):
        read_table(path, ["q"])


@pytest.mark.parametrize("gaps", [False, True])
def test_row_names__as_r_writes_them(tmp_path, gaps):
    """R's write.table(x, sep = ","): a header one cell shorter than the rows; names of a subset have gaps."""
    numbers = ["1", "5", "12"] if gaps else ["1", "2", "3"]
    path = tmp_path / "a.csv"
    path.write_text('"sex","q"\n' + "".join(f'"{n}",{k},"v{k}"\n' for k, n in enumerate(numbers)))
    assert read_labels(path).columns == ("sex", "q")
    found = read_table(path, ["sex", "q"])
    assert found["sex"].tolist() == ["0", "1", "2"]
    assert found["q"].tolist() == ["v0", "v1", "v2"]


AMBIGUOUS = {
    "a weight of one digit": ('"pid","sex","q","w","cntry"', '"{}",1,2,0,{},"NO"'),
    "grades": ('"person","sex","grade"', '"{}","f",2,{}'),
    "a weight before a missing one": ('"pid","w","q"', '"{}",1,{},NA'),
    "an unquoted text with a comma": ('"pid","place","q"', '"{}",Oslo, Norway,{}'),
    "thousands and times with points": ('"pid","w","income","at"', '"{}",1,{},1.234,12.30'),
    "a separator at the end": ('"pid","sex","q"', '"{}",{},2.5,'),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_row_names__not_where_a_split_cell_explains_as_much(tmp_path, case):
    """A decimal comma between two whole numbers, in every row: whose names or numbers they are, nothing says."""
    header, row = AMBIGUOUS[case]
    path = tmp_path / "a.csv"
    path.write_text("\n".join([header, *(row.format(i, i % 10) for i in range(1, 40))]) + "\n")
    with pytest.raises(DataError, match=r"39 of 39 rows(?s:.*)hint: .*(row names|end of each row)"):
        read_table(path, [header.split(",")[2].strip('"')])


@pytest.mark.parametrize("case", ["texts between numbers", "decimal points elsewhere", "lengths", "truth values"])
def test_row_names__where_nothing_else_explains_the_cell(tmp_path, case):
    """Oracle: the cells as they were written."""
    header, rows = {
        "texts between numbers": ('"sex","place","q"', [["1", '"Oslo"', str(i)] for i in range(12)]),
        "decimal points elsewhere": ('"sex","q","w"', [["1", str(i), f"0.{i}5"] for i in range(12)]),
        "lengths": ('"sex","q"', [["1", str(i)] for i in range(12)]),  # 10 is no end of a decimal number beside 0 to 9
        "truth values": ('"adult","q"', [["TRUE", str(i)] for i in range(12)]),
    }[case]
    path = tmp_path / "a.csv"
    path.write_text("\n".join([header, *(",".join([f'"{i + 1}"', *row]) for i, row in enumerate(rows))]) + "\n")
    last = header.split(",")[-1].strip('"')
    assert read_table(path, [last])[last].tolist() == [row[-1] for row in rows]
    assert read_labels(path).row_names


def test_row_names__beside_decimal_commas_that_separate_nothing(tmp_path):
    """R's write.table(x, sep = ";", dec = ",")."""
    (tmp_path / "a.csv").write_text('"sex";"q";"w"\n' + "".join(f'"{i}";1;{i};0,{i}5\n' for i in range(1, 10)))
    assert read_table(tmp_path / "a.csv", ["w"])["w"].tolist() == [f"0.{i}5" for i in range(1, 10)]


@pytest.mark.parametrize("names", [["7", "5", "6"], ["1", "1", "2"], ["1", "2", "x"]])
def test_row_names__that_are_none(tmp_path, names):
    (tmp_path / "a.csv").write_text('"sex","q"\n' + "".join(f'"{n}",{k},2\n' for k, n in enumerate(names)))
    with pytest.raises(DataError, match=r"line 2: 3 cells \(3 of 3 rows\)"):
        read_table(tmp_path / "a.csv", ["sex"])


def test_separator__counted_outside_quotes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('"Country, where you live";"Trust, people, on the whole";"two\nlines"\n"NO";"a,5";3\n')
    assert read_labels(path).columns == ("Country, where you live", "Trust, people, on the whole", "two\nlines")
    assert read_table(path, ["Trust, people, on the whole"]).iloc[:, 0].tolist() == ["a,5"]


def test_qualtrics__two_more_rows_of_header(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [
                ["ResponseId", "Q1"],
                ["Response ID", "How often\ndo you, on the whole, trust?"],
                ['{"ImportId":"_recordId"}', '{"ImportId":"QID1"}'],
                ["R_1", "2"],
                ["R_2", "3"],
            ]
        )
    assert read_table(path, ["Q1"])["Q1"].tolist() == ["2", "3"]
    labels = read_labels(path).variables
    assert labels == {"ResponseId": "Response ID", "Q1": "How often do you, on the whole, trust?"}
    path.write_text(path.read_text() + "R_3,4,5\n")
    with pytest.raises(DataError, match=r"line 7: 3 cells \(1 of 3 rows\)"):
        read_table(path, ["Q1"])


MORE_ROWS = {
    "Qualtrics without import ids": (
        "StartDate,EndDate,ResponseId,Q1\nStart Date,End Date,Response ID,Do you trust people?\n",
        "2024-01-01 00:00:00,2024-01-01 00:05:00,R_1,2\n2024-01-02 00:00:00,2024-01-02 00:05:00,R_2,3\n",
        {"Q1": "Do you trust people?", "ResponseId": "Response ID", "StartDate": "Start Date", "EndDate": "End Date"},
    ),
    "Qualtrics with import ids alone": (
        'ResponseId,Q1\n"{""ImportId"":""_recordId""}","{""ImportId"":""QID1""}"\n', "R_1,2\nR_2,3\n", {},
    ),
    "SurveyMonkey": (
        "Respondent ID,Collector ID,Q1,Which?,\n,,Response,A,B\n", "1,9,2,A,\n2,9,3,,B\n", {},
    ),
    "none of them": ("StartDate,EndDate,Q1\n", "2024-01-01,2024-01-02,2\n2024-01-01,2024-01-02,3\n", {}),
    "empty dates": ("StartDate,EndDate,Q1\n", ",,2\n,,3\n", {}),
    "ids of two columns": ("Respondent ID,Collector ID,Q1\n", ",,2\n1,9,3\n", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", MORE_ROWS)
def test_more_rows_of_header__of_programs_that_write_them(tmp_path, case):
    """They are no people: a draft took "Response" for a country, and numbers for texts."""
    header, rows, labels = MORE_ROWS[case]
    (tmp_path / "a.csv").write_text(header + rows)
    assert read_table(tmp_path / "a.csv", ["Q1"])["Q1"].tolist() == ["2", "3"]
    assert read_labels(tmp_path / "a.csv").variables == labels


def test_limesurvey_and_redcap__as_they_write_codes(tmp_path):
    """LimeSurvey: a byte order mark, all in quotes, codes and questions in the header. REDCap: events, checkboxes."""
    path = tmp_path / "a.csv"
    path.write_text(
        '"id. Response ID";"submitdate. Date submitted";"G01Q01. How often, on the whole; mostly?"\n'
        '"1";"2024-01-05 10:00:00";"AO01"\n"2";"";"AO02"\n',
        encoding="utf-8-sig",
    )
    assert read_labels(path).columns[2] == "G01Q01. How often, on the whole; mostly?"
    assert read_table(path, [read_labels(path).columns[2]]).iloc[:, 0].tolist() == ["AO01", "AO02"]
    path.write_text(
        "record_id,redcap_event_name,sex,race___1,race___2,notes,survey_complete\n"
        '1,baseline_arm_1,2,1,0,"two\nlines, and more",2\n2,baseline_arm_1,1,0,1,,0\n'
    )
    assert read_table(path, ["sex", "race___1", "notes"]).to_numpy().tolist() == [
        ["2", "1", "two\nlines, and more"], ["1", "0", ""],
    ]  # fmt: skip


def test_names__a_nameless_column_is_none(tmp_path):
    """As pandas writes its index."""
    pd.DataFrame({"sex": [1, 2]}).to_csv(tmp_path / "a.csv")
    assert read_labels(tmp_path / "a.csv").columns == ("", "sex")
    assert read_table(tmp_path / "a.csv", ["sex"])["sex"].tolist() == ["1", "2"]


@pytest.mark.parametrize(
    ("header", "row"), [('"id","w","sex"', '"{}",0,8712,2'), ('"a","b","sex"', '"{}",3,2,')], ids=["comma", "end"]
)
def test_row_names__are_not_taken_for_a_cell_too_many(tmp_path, header, row):
    """A numbering column beside an unquoted decimal comma, or a separator at the end of each row, shifts nothing."""
    path = tmp_path / "a.csv"
    path.write_text("\n".join([header, *(row.format(i) for i in range(1, 6))]) + "\n")
    with pytest.raises(DataError, match="cells"):
        read_table(path, ["sex"])


def test_swallowed_rows__with_the_line_ends_of_old_macs(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"1,{'x' if i != 5 else chr(34) + 'x'}" + (chr(34) if i == 90 else "") for i in range(100)]
    path.write_bytes("\r".join(["a,b", *rows, ""]).encode())
    with pytest.raises(DataError):
        read_table(path, ["a"])


# --- what stands before the header, and what is no CSV file -----------------------------------------------------------

BODY = "pid,cntry,q\n1,NO,2\n2,NO,3\n"
BEGINNINGS = {
    "Excel's line": b"sep=;\r\n" + BODY.replace(",", ";").encode(),
    "Excel's line with another separator": b"sep=|\n" + BODY.replace(",", "|").encode(),
    "blank lines": b"\n  \r\n" + BODY.encode(),
    "blank lines behind the header": BODY.replace("q\n", "q" + 500 * "\n").encode(),
    "blanks around names": BODY.replace(",", " , ").encode(),
    "UTF-8 with a mark": BODY.encode("utf-8-sig"),
    "UTF-16 with a mark": b"\xfe\xff" + BODY.encode("utf-16-be"),
    "UTF-32 with a mark": BODY.encode("utf-32"),
}


@pytest.mark.parametrize("case", BEGINNINGS)
@pytest.mark.parametrize("encoding", [None, "guess", "cp1252"])
def test_beginnings__that_leave_no_doubt(tmp_path, case, encoding):
    """A mark says the encoding, whatever is asked for. Oracle: the cells that were written."""
    (tmp_path / "a.csv").write_bytes(BEGINNINGS[case])
    assert read_labels(tmp_path / "a.csv", encoding=encoding).columns == ("pid", "cntry", "q")
    assert read_table(tmp_path / "a.csv", ["pid", "q"], encoding=encoding).to_numpy().tolist() == [
        ["1", "2"], ["2", "3"],
    ]  # fmt: skip


def test_beginnings__lines_are_counted_from_the_first(tmp_path):
    (tmp_path / "a.csv").write_text("sep=,\n\n" + BODY + "3,NO\n")
    with pytest.raises(DataError, match=r"line 6: 2 cells \(1 of 3 rows\)"):
        read_table(tmp_path / "a.csv", ["q"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(BODY.encode(), mtime=0)[:20], "cannot be read"),
        (b"PK\x03\x04" + bytes(30), "is no text(.|\n)*got: a ZIP file, or an Excel workbook"),
        (BODY.encode("utf-16-le"), "hold NUL(.|\n)*--encoding utf-16-le"),
        (b"\n\n", "is empty"),
        (b"sep=;\n", "is empty"),
        (BODY.replace("2\n", "2,\n").replace("3\n", "3,\n").encode(), "a separator at the end of each row"),
    ],
)
@pytest.mark.parametrize("encoding", [None, "cp1252"])
def test_beginnings__of_what_cannot_be_read(tmp_path, content, says, encoding):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_table(tmp_path / "a.csv", ["q"], encoding=encoding)


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (["1,5", "2", "", "NA", "-0,25"], ["1.5", "2", "", "NA", "-0.25"]),
        (["1,5", "1,2,3"], ["1,5", "1,2,3"]),  # answers of which several were picked
        (["1,5", "other"], ["1,5", "other"]),
        (["1", "2"], ["1", "2"]),
    ],
)
def test_decimal_commas__where_the_whole_column_has_them(tmp_path, cells, read):
    """As Excel writes them where commas are decimal. Oracle: by hand."""
    (tmp_path / "a.csv").write_text("x;y\n" + "".join(f"{cell};1\n" for cell in cells))
    assert read_table(tmp_path / "a.csv", ["x"])["x"].astype(object).tolist() == read
    (tmp_path / "b.csv").write_text("x,y\n" + "".join(f'"{cell}",1\n' for cell in cells))
    assert read_table(tmp_path / "b.csv", ["x"])["x"].astype(object).tolist() == cells


def test_packed__as_it_was_and_a_guess_is_told(tmp_path):
    plain = "country,sex\nNO,kvinne\nNO,særlig\n"
    (tmp_path / "a.csv").write_text(plain)
    with gzip.open(tmp_path / "a.csv.gz", "wt") as stream:
        stream.write(plain)
    for name in ("a.csv", "a.csv.gz"):
        assert read_labels(tmp_path / name).columns == ("country", "sex")
        assert read_table(tmp_path / name, ["sex"])["sex"].tolist() == ["kvinne", "særlig"]
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(plain.encode("cp1252")))
    with pytest.raises(DataError, match="a guess: cp1252, as in 'NO,særlig'; if so, --encoding cp1252"):
        read_table(tmp_path / "b.csv.gz", ["sex"])
    assert read_table(tmp_path / "b.csv.gz", ["sex"], encoding="guess")["sex"].tolist() == ["kvinne", "særlig"]
    (tmp_path / "c.csv").write_bytes(plain.encode("utf-16-le"))
    with pytest.raises(DataError, match="--encoding utf-16-le"):
        read_table(tmp_path / "c.csv", ["sex"])
