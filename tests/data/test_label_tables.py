"""Tables of labels as people have them: every one is read right, or refused with the line and the column."""

from __future__ import annotations

import unicodedata
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from unshuffle.data.labels import Labels, column_of, labels_of
from unshuffle.data.ranks import rank_values
from unshuffle.data.relabelled import read_heads

FILES = ["x/a.png", "x/b.png"]
CATS = Labels(("cat", "dog"), [0, 1])


def table(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parquet(folder: Path, **columns: object) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


# ----------------------------------------------------------------------------------------------------------- read right


@pytest.mark.parametrize(
    "content",
    [
        "file,label\na.png,cat\nb.png,dog\n",
        "file, label\na.png, cat\nb.png , dog \n",  # blanks
        " File , LABEL \na.png,cat\nb.png,dog\n",  # capitals and blanks of headers
        "File,Label,Width\na.png,cat,3\nb.png,dog,4\n",
        "label,Labels,file\ncat,1,a.png\ndog,2,b.png\n",
        "file,label\r\na.png,cat\r\nb.png,dog\r\n",
        "file,label\ra.png,cat\rb.png,dog\r",
        "file,label\n\na.png,cat\n\n\nb.png,dog",  # empty lines, none at the end
        "file,label\na.png,cat,\nb.png,dog,,\n",  # empty surplus cells
        "file,label,size\na.png,cat\nb.png,dog\n",  # rows that end early, behind the label
        "file;label\na.png;cat\nb.png;dog\n",
        "file\tlabel\na.png\tcat\nb.png\tdog\n",
        "file;label,size\na.png;cat\nb.png;dog\n",  # one column of an odd name
        "sep=;\nfile;label\na.png;cat\nb.png;dog\n",
        "file,label,note\na.png,cat,two; or\tthree\nb.png,dog,\n",
        'file,label,note\na.png,cat,"over\ntwo lines"\nb.png,dog,"a ""quote"""\n',
        '"file", "label"\n"a.png", "cat"\n"b.png", "dog"\n',
        "file,label,LABEL\na.png,cat,1\nb.png,dog,1\n",  # written as wanted, beside another
        "file,label,label2,label2\na.png,cat,1,2\nb.png,dog,1,2\n",  # two columns of one name that nobody needs
        ",file,species\n0,a.png,cat\n1,b.png,dog\n",  # an index of rows
        "file,label\na.png,cat\nb.png,dog\nelsewhere.png,\n",
        "file,label\na.png,cat\nb.png,dog\nelsewhere.png,ant,bee\n",  # a surplus cell of a file nobody asked for
        "file,label\na.png,cat\nb.png,dog\nelsewhere.png,x\nelsewhere.png,y\n",
        "file,label\na.png,cat\nb.png,dog\n,x\n,y\n",  # rows without a name
        "file,label\na.png,cat\na.png,\na.png,cat\nb.png,dog\n",  # said once, and twice the same
        "file,label\nx\\a.png,cat\n.\\x\\b.png,dog\n",
        f'file,label,features\na.png,cat,"{"1" * 150_000}"\nb.png,dog,\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_dialect_that_leaves_no_doubt_is_read(content, encoding, tmp_path):
    assert labels_of(FILES, table(tmp_path, content.encode(encoding))) == CATS


def test_the_byte_order_of_utf_16_is_that_of_its_mark(tmp_path):
    content = "\ufefffile,label\na.png,cat\nb.png,dog\n"

    assert labels_of(FILES, table(tmp_path, content.encode("utf-16-be"))) == CATS


def test_a_tsv_is_a_table_too(tmp_path):
    assert labels_of(FILES, table(tmp_path, "file\tlabel\na.png\tcat\nb.png\tdog\n", "t.tsv")) == CATS


def test_the_limit_of_cells_that_the_process_had_is_left_as_it_was(tmp_path):
    import csv

    before = csv.field_size_limit()
    labels_of(FILES, table(tmp_path, "file,label\na.png,cat\nb.png,dog\n"))

    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (("1,5", "2"), [1.5, 2.0]),
        (("-0,25", "1e3"), [-0.25, 1000.0]),
        ((",5", "10,125"), [0.5, 10.125]),
        (("1.5", "2"), [1.5, 2.0]),
    ],
)
def test_a_decimal_comma_is_read_where_semicolons_separate(cells, numbers, tmp_path):
    path = table(tmp_path, f"file;score\na.png;{cells[0]}\nb.png;{cells[1]}\n")

    assert rank_values(column_of(FILES, path, None).values, "t").tolist() == numbers


@pytest.mark.parametrize("cells", ["1,500;2,000", "1.500,5;2", '"1,5";ant'])
@pytest.mark.errors
def test_a_comma_that_could_be_thousands_is_no_number(cells, tmp_path):
    one, two = cells.split(";")
    values, place = column_of(FILES, table(tmp_path, f"file;score\na.png;{one}\nb.png;{two}\n"), None)

    with pytest.raises(ValueError, match=r"line 2, column 'score': '1.*,5.*' is neither.*a point"):
        rank_values(values, "t", place=place)


@pytest.mark.parametrize(
    ("first", "second", "classes"),
    [
        (b"cat", b"dog", ("cat", "dog")),
        (" cat", "dog ", ("cat", "dog")),
        (False, True, ("False", "True")),
        (Decimal("1.50"), Decimal("10.25"), ("1.50", "10.25")),
        (datetime(2020, 1, 1), datetime(2021, 1, 1), ("2020-01-01 00:00:00", "2021-01-01 00:00:00")),
        (np.uint64(2**63), np.uint64(2**63 + 1), (str(2**63), str(2**63 + 1))),
        (2, 10, ("2", "10")),
    ],
)
def test_values_of_parquet_are_classes_of_their_words(first, second, classes, tmp_path):
    found = labels_of(FILES, parquet(tmp_path, file=["a.png", "b.png"], Label=[first, second]))

    assert sorted(found.classes) == sorted(classes)
    assert [found.classes[k] for k in found.labels] == list(classes)


def test_dictionaries_bytes_and_nanoseconds_of_parquet_are_read(tmp_path):
    pa = pytest.importorskip("pyarrow")
    names = pa.array([b"a.png", b"b.png"]).dictionary_encode()
    when = pa.array([1_600_000_000_000_000_001, 1_700_000_000_000_000_999], pa.timestamp("ns", "UTC"))
    path = parquet(tmp_path, file=names, label=pa.array(["cat", "dog"]).dictionary_encode(), when=when)

    assert labels_of(FILES, path) == CATS
    seconds = rank_values(column_of(FILES, path, "when").values, "t").tolist()
    assert seconds == [datetime.fromtimestamp(s, timezone.utc).timestamp() for s in (1_600_000_000, 1_700_000_000)]


def test_a_missing_value_of_a_file_nobody_asked_for_does_not_matter(tmp_path):
    path = parquet(tmp_path, file=["a.png", "b.png", "c.png", "d.png"], score=[1.0, 2.0, float("nan"), None])

    assert rank_values(column_of(FILES, path, None).values, "t").tolist() == [1.0, 2.0]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_matched_whichever_way_their_accents_are_written(form, tmp_path):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    files = [unicodedata.normalize(other, name) for name in ("é/ü.png", "é/한.png")]
    written = unicodedata.normalize(form, "name,label\né/ü.png,cat\n한,dog\n")

    assert labels_of(files, table(tmp_path, written)) == CATS


def test_two_files_that_differ_in_the_form_alone_have_their_own_rows(tmp_path):
    files = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]

    assert labels_of(files, table(tmp_path, f"name,label\n{files[1]},dog\n{files[0]},cat\n")) == CATS


@pytest.mark.parametrize(
    "name", ["caf\udce9.png", "a\nb.png", "back\\slash.png", "\u202egnp.png", "tab\t.png", " blank.png "]
)
def test_names_that_were_escaped_find_their_files(name, tmp_path):
    from unshuffle._names import escape_name

    quoted = escape_name(name)
    path = table(tmp_path, f'name,label\n"x/{quoted}",cat\n"{quoted}x",dog\n')

    assert labels_of([f"x/{name}", f"x/{name}x"], path) == CATS
    assert labels_of([f"deep/x/{name}"], path) == Labels(("cat",), [0])


def test_an_escape_may_still_be_a_folder_of_windows(tmp_path):
    path = table(tmp_path, "name,label\nshots\\xe9.png,cat\nshots\\xea.png,dog\n")

    assert labels_of(["shots/xe9.png", "shots/xea.png"], path) == CATS


# -------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.errors
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "file,label\na.png,cat, black\nb.png,dog\n",
            r"line 2 has 3 cells and the header 2: 'black' in column 3 .*quotes",
        ),
        ("file,label,label\na.png,cat,1\nb.png,dog,1\n", "2 columns called 'label'"),
        ("file,LABEL,Label\na.png,cat,1\nb.png,dog,1\n", "2 columns called 'label'"),
        ("file,File,label\na.png,cat,1\nb.png,dog,1\n", "2 columns called 'file'"),
        ("file,label\na.png\nb.png,dog\n", r"no label for 'x/a.png' .*line 2, column 'label' is empty"),
        ("file,label\na.png,nan\nb.png,dog\n", r"no label for 'x/a.png' .*line 2, column 'label' is empty, NaN or NA"),
        ("file,label\na.png, \nb.png,NA\n", r"no label for 'x/a.png' and 1 others"),
        ("file,label\na.png,cat\nx, b.png,dog\n", r"no label for 'x/b.png'.* In that table, line 3 has 3 cells"),
        (
            "file,label\na.png,cat\nb.png,dog\nb.png,cat\n",
            r"two labels for 'b.png', 'dog' and 'cat' \(line 3 and line 4\)",
        ),
        ("file,label\na.png,inf\nb.png,1\n", r"line 2, column 'label': inf is no label beside finite numbers"),
        ('file,label\na.png,"cat\nb.png,dog\n', r"begins on line 2: unexpected end of data"),
        ('file,label\na.png,"cat"s\nb.png,dog\n', r"begins on line 2: ',' expected after '\"'"),
        ("file,label\na.png,c\0at\nb.png,dog\n", r"line 2, character 8 is a NUL"),
        (b"file,label\na.png,cat\nb.png,d\xf6g\n", r"in UTF-8: line 3, byte 8"),
        ("file,label\na.png,cat\nb.png,dog\n".encode("utf-16-le"), r"line 1, character 2 is a NUL.*UTF-16"),
        ("file|label\na.png|cat\n", r"no column of file names: .*its columns: file\|label"),
        ("a.png,cat\nb.png,dog\n", "no column of file names"),
        ("", "no column of file names"),
        ("file,path;name\na.png,cat\n", "separated by a comma or a semicolon"),
        ("sep=|\nfile|label\na.png|cat\n", r"commas, semicolons or tabs; not by '\|'"),
    ],
)
def test_a_doubt_is_told_with_its_place(content, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        labels_of(FILES, table(tmp_path, content))


@pytest.mark.errors
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([b"\xff", b"dog"], r"row 1, column 'label': b'\\xff' is no UTF-8"),
        (["c\0at", "dog"], r"row 1, column 'label': 'c\\x00at' holds a NUL"),
        ([float("nan"), 1.0], r"no label for 'x/a.png' .*row 1, column 'label' is empty, NaN or NA"),
        ([float("inf"), 1.0], r"row 1, column 'label': inf is no label"),
        ([["cat"], ["dog"]], r"several columns, or none, .*of lists, which are no labels: label"),
    ],
)
def test_values_of_parquet_that_are_no_labels_are_told_with_their_place(labels, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        labels_of(FILES, parquet(tmp_path, file=["a.png", "b.png"], label=labels))


@pytest.mark.errors
def test_names_that_differ_in_their_form_alone_are_refused_where_that_leaves_a_doubt(tmp_path):
    one, other = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))

    with pytest.raises(ValueError, match=r"could be that of '\\xe9.png' and of 'e\\u0301.png', which differ in their"):
        labels_of([f"{one}.png", f"{other}.png"], table(tmp_path, f"name,label\n{one}.png,cat\n"))
    with pytest.raises(ValueError, match=r"could be the row '\\xe9' and 'e\\u0301', which differ in their"):
        labels_of([f"{one}.png"], table(tmp_path, f"name,label\n{one},cat\n{other},dog\n"))


# ----------------------------------------------------------------------------------------------------- labels of heads


def test_heads_are_read_from_dialects_and_rows_of_other_files_need_not_be_right(tmp_path):
    content = (
        "File;Head;Label\na.png;0;cat\na.png;1;7\nb.png;0;dog\nb.png;1;NaN\nelse.png;x;cat\nelse.png;0;cat;;5\n"
        "else.png;0;ant\nelse.png;0;bee\n"
    )

    heads = read_heads(table(tmp_path, content), FILES)

    assert heads.labels.tolist() == [[2, 7], [3, -1]]  # ant, bee, cat, dog
    assert heads.strangers == 1


@pytest.mark.errors
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,head,label\na.png,one,1\n", r"heads must be whole numbers; got 'one' \(line 2, column 'head'\)"),
        ("file,head,label\na.png,,1\n", r"heads must be whole numbers; got '' \(line 2"),
        ("file,head,label\na.png,0,1\na.png,0,2\n", "line 3: two labels of head 0 for 'a.png'"),
        ("file,head,label\na.png,0,1,5\n", "line 2 has 4 cells and the header 3"),
    ],
)
def test_heads_in_doubt_are_told_with_their_place(content, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        read_heads(table(tmp_path, content), FILES)
