"""Labels by folders and by tables: who gets which, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from unshuffle.data.labels import Labels, labels_of


def table(folder: Path, *rows: str) -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


# -------------------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize(
    ("names", "classes", "labels"),
    [
        (["ant/b.png", "ant/in/c.png", "cat/d.jpg"], ("ant", "cat"), [0, 0, 1]),
        (["all/cat/1.png", "all/dog/1.png"], ("cat", "dog"), [0, 1]),
        (["0.tar/cat/1.png", "1.tar/dog/1.png"], ("cat", "dog"), [0, 1]),
        (["a.png", "b.png"], (), None),
        (["a.png", "cat/b.png"], (), None),
        (["only/a.png", "only/b.png"], (), None),
        (["0.tar/a.png", "1.tar/b.png"], (), None),
        ([], (), None),
    ],
)
def test_a_class_is_the_first_folder_in_which_files_differ(names, classes, labels):
    assert labels_of(names) == Labels(classes, labels)


# --------------------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("head", ["name", "file", "filename", "path", "File"])
@pytest.mark.parametrize(
    "rows", [("x/1.png", "x/2.png"), ("x/1", "x/2"), ("1.png", "2.png"), ("2", "1"), ("in/x/1.png", "./x/2.png")]
)
def test_rows_are_found_by_name_with_or_without_suffix_and_folders(head, rows, tmp_path):
    colour = {"1": "red", "2": "blue"}
    lines = [f"{row},{colour[row.rpartition('/')[2][0]]}" for row in rows]

    found = labels_of(["x/1.png", "x/2.png"], table(tmp_path, f"{head},colour", *lines))

    assert found == Labels(("blue", "red"), [1, 0])


def test_classes_that_are_numbers_are_in_the_order_of_numbers(tmp_path):
    found = labels_of(["a", "b", "c"], table(tmp_path, "name,age", "a,10", "b,9", "c,9.5"))

    assert found == Labels(("9", "9.5", "10"), [2, 0, 1])


def test_the_column_called_label_is_taken_and_another_where_it_is_named(tmp_path):
    path = table(tmp_path, "name,label,size", "a.wav,x,2", "b.wav,y,1")

    assert labels_of(["a.wav", "b.wav"], path).classes == ("x", "y")
    assert labels_of(["a.wav", "b.wav"], path, "size") == Labels(("1", "2"), [1, 0])


def test_a_row_more_a_byte_order_mark_and_rows_in_another_order_do_not_matter(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("name,label\nc,x\nb,y\na,x\n", encoding="utf-8-sig")

    assert labels_of(["a", "b"], path) == Labels(("x", "y"), [0, 1])


def test_files_of_one_name_in_several_folders_are_told_apart_by_these(tmp_path):
    path = table(tmp_path, "name,label", "a/1.png,x", "b/1.png,y")

    assert labels_of(["deep/a/1.png", "deep/b/1.png"], path).labels == [0, 1]


def test_a_parquet_table_is_read_alike_and_its_features_left_aside(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"name": ["a.png", "b.png"], "kind": [7, 3], "features": [[0.1, 0.2], [0.3, 0.4]]}), path)

    assert labels_of(["a.png", "b.png"], path) == Labels(("3", "7"), [1, 0])


@pytest.mark.errors
@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["name,label", "a.png,x"], r"has no label for 'b.png' and 1 others of 3 files"),
        (["name,label", "a.png,x", "b.png,", "c.png,x"], r"no label for 'b.png' and 0 others"),
        (["image,label", "a.png,x"], "no column of file names: call one name or file or .*; its columns: image, label"),
        (["name", "a.png"], "several columns, or none, .*its columns: none"),
        (["name,p,q", "a.png,x,y"], r"several columns.*name one \(--label-column\); its columns: p, q"),
        (["name,label", "a.png,x", "a.png,y"], "two labels for 'a.png', 'x' and 'y'"),
        (["name,label", "x/a.png,x", "y/a.png,y"], "'a.png' could be the row 'x/a.png' and 'y/a.png'"),
    ],
)
def test_a_table_that_leaves_a_doubt_is_refused_with_what_to_do(rows, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        labels_of(["a.png", "b.png", "c.png"], table(tmp_path, *rows))


@pytest.mark.errors
def test_one_row_for_two_files_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"row '1' of '.*' could be that of 'a/1.png' and of 'b/1.png'"):
        labels_of(["a/1.png", "b/1.png"], table(tmp_path, "name,label", "1,x"))


@pytest.mark.errors
def test_an_unknown_column_no_table_and_another_kind_of_file_are_refused(tmp_path):
    path = table(tmp_path, "name,label", "a,x")

    with pytest.raises(ValueError, match="no column 'colour': name one"):
        labels_of(["a"], path, "colour")
    with pytest.raises(FileNotFoundError, match=r"no table '.*none.csv': give a .csv or .parquet"):
        labels_of(["a"], tmp_path / "none.csv")
    (tmp_path / "t.xlsx").write_bytes(b"1")
    with pytest.raises(ValueError, match=r"must be a .csv or a .parquet"):
        labels_of(["a"], tmp_path / "t.xlsx")
    (tmp_path / "t.parquet").write_bytes(b"1")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        labels_of(["a"], tmp_path / "t.parquet")
    path.write_bytes(b"name,label\n\xff\xfe,x\n")
    with pytest.raises(ValueError, match="cannot be read as a table in UTF-8"):
        labels_of(["a"], path)
