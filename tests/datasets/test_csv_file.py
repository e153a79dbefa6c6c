from __future__ import annotations

import csv
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mlkit_build.errors import MlkitBuildError
from mlkit_build.recipe import Csv
from tests.datasets.opening import labels, opened, whole

SPEC = Csv(features={"x": ("a", "b")})
IRIS = "a,b,kind\n1.5,2,setosa\n3,4e-1,virginica\n-5,+6,setosa\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "a.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_become_inputs_and_names_become_classes(tmp_path: Path) -> None:
    spec = Csv(features={"x": ("b", "a"), "y": ("a",)}, label="kind", classes=("virginica", "setosa"))
    dataset = opened(spec, write(tmp_path, IRIS), x=(1, 2), y=(1,))
    np.testing.assert_array_equal(whole(dataset, size=2), np.array([[2, 1.5], [0.4, 3], [6, -5]], np.float32))
    assert whole(dataset, "y").shape == (3,)
    assert labels(dataset) == [1, 0, 1]


def test_a_range_of_columns_takes_the_shape_of_the_input(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows([7, *image.reshape(-1)] for image in images)
    spec = Csv(features={"x": ("1..12",)}, label="0", header=False, delimiter=";", types={"x": "uint8"})
    for shape in ((1, 4, 3), (1, 4, 3, 1), (1, 4, 3, 3)):
        dataset = opened(spec, tmp_path / "a.csv", x=shape)
        assert dataset.sample_shape("x") == ((4, 3, 1) if shape[-1] == 1 else (4, 3))
        np.testing.assert_array_equal(whole(dataset).reshape(images.shape), images)
    assert labels(dataset) == [7] * 5


def test_a_tab_may_come_as_the_two_characters_that_a_command_line_hands_on(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\tb\n1\t2\n")
    for delimiter in ("\t", r"\t"):
        assert whole(opened(Csv(features={"x": ("a", "b")}, delimiter=delimiter), tmp_path / "a.csv", x=(1, 2))).tolist() == [
            [1, 2]
        ]


def test_a_byte_order_mark_quotes_and_line_ends_of_windows_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b'\xef\xbb\xbf"a","b","kind"\r\n"1.5","2","x"\r\n\r\n3,0.4,y\r\n')
    found = whole(opened(SPEC, tmp_path / "b.csv", x=(1, 2)))
    np.testing.assert_array_equal(found, np.array([[1.5, 2], [3, 0.4]], np.float32))


def test_the_choice_does_not_depend_on_the_order_of_the_rows(tmp_path: Path) -> None:
    rows = [f"{index},{index * 7 % 31}" for index in range(40)]
    spec = Csv(features={"x": ("a", "b")}, samples=11, seed=3)
    chosen = [
        {row.tobytes() for row in whole(opened(spec, write(tmp_path, "\n".join(["a,b", *lines])), x=(1, 2)))}
        for lines in (rows, rows[::-1])
    ]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 11


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    line = ",".join(["0.25"] * 500) + "\n"

    def peak(count: int) -> int:
        with (tmp_path / "a.csv").open("w") as file:
            file.writelines(line for _ in range(count))
        tracemalloc.start()
        try:
            dataset = opened(Csv(features={"x": ("0..499",)}, header=False), tmp_path / "a.csv", x=(1, 500))
            assert sum(len(batch.features["x"]) for batch in dataset.batches(64)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(2000) < peak(500) + 500_000


CASES = [
    ("", SPEC, "expected rows, found an empty file"),
    ("a,b\n", SPEC, "expected samples, found none"),
    ("a,b\n1,\n", SPEC, r"a\.csv: line 2, column 'b': expected a finite number, found nothing"),
    ("a,b\n1,2\nNA,2\n", SPEC, r"line 3, column 'a': expected a finite number, found 'NA'"),
    ("a,b\n3_0,2\n", SPEC, r"line 2, column 'a': expected a finite number, found '3_0'"),
    ("a,b\n1,\u0663\n", SPEC, "line 2, column 'b': expected a finite number, found '\u0663'"),
    ("a,b\n3_0,2\n", Csv(features={"x": ("a", "b")}, types={"x": "int64"}), "a whole number of int64, found '3_0'"),
    ("a;b\n1;2\n", SPEC, "its fields look divided by ';': save it with ',', or state `delimiter`"),
    (
        "a,b,y\n1,2,3_0\n",
        Csv(features={"x": ("a", "b")}, label="y"),
        "line 2, column 'y': expected the index of a class, found '3_0'",
    ),
    ("a,b\n1,nan\n", SPEC, r"line 2, column 'b': expected a finite number, found 'nan'"),
    ("a,b\n1\n", SPEC, "line 2: expected 2 fields, as in the first line, found 1"),
    ("a,c\n1,2\n", SPEC, r"dataset\.features\.x: no column 'b' in .*; it has a, c"),
    ("a,b,b\n1,2,3\n", SPEC, "2 columns of .* are called 'b'"),
    (
        "a,b\n300,2\n",
        Csv(features={"x": ("a", "b")}, types={"x": "uint8"}),
        "column 'a': expected a whole number of uint8, found '300'",
    ),
    ("a,b\n1.5,2\n", Csv(features={"x": ("a", "b")}, types={"x": "int64"}), "expected a whole number of int64, found '1.5'"),
    ("a,b\n1,2\n", Csv(features={"x": ("b..a",)}), "in the range 'b..a' the first column comes after the last one"),
    ("a,b\n1,2\n", Csv(features={"x": ("a..z",)}), "in the range 'a..z': no column 'z' in"),
    ("a,b\n1,2\n", Csv(features={"x": ("0..1",)}), "columns are called 0, 1, ... where `header: false` is stated"),
    ("a,b\n1,2\n", Csv(features={"x": ("a...b",)}), "expected a column, or a range of columns as `first..last`, found 'a...b'"),
    ("a,b\n1,2\n", Csv(features={"x": ("..b",)}), "expected a column, or a range of columns as `first..last`, found '..b'"),
    ('a,b\n1,"2\n', SPEC, "not CSV"),
    (IRIS, Csv(features={"x": ("a", "b")}, label="kind"), "line 2, column 'kind': expected the index of a class, found 'setosa'"),
    (IRIS, Csv(features={"x": ("a", "b")}, label="kind", classes=("setosa", "virginia")), "no class 'virginica'"),
    (
        "a,b,y\n1,2,nan\n",
        Csv(features={"x": ("a", "b")}, label="y"),
        "column 'y': expected the index of a class, found 'nan'",
    ),
    (IRIS, Csv(features={"x": ("a", "b")}, samples=4), r"dataset\.samples: 4 asked, but .* has 3"),
]


@pytest.mark.parametrize(("text", "spec", "message"), CASES)
def test_what_is_wrong_is_named_by_row_and_column(tmp_path: Path, text: str, spec: Csv, message: str) -> None:
    with pytest.raises(MlkitBuildError, match=message):
        whole(opened(spec, write(tmp_path, text), x=(1, 2)))


def test_a_line_without_an_end_is_refused_in_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w") as file:
        for _ in range(40):
            file.write("1," * (1 << 19))
    tracemalloc.start()
    try:
        with pytest.raises(MlkitBuildError, match="line 1: expected at most 4194304 characters"):
            opened(SPEC, tmp_path / "a.csv")
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def test_what_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n\xff\xfe,3\n")
    with pytest.raises(MlkitBuildError, match="expected UTF-8 text"):
        whole(opened(SPEC, tmp_path / "a.csv", x=(1, 2)))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["7", "1700000000", "9007199254740993"], [7, 1700000000, 2**53 + 1]),  # which float64 has not
        (["7", "1700000000", "-3", "-0.25", "99999999999999999999"], [7.0, 1.7e9, -3.0, -0.25, 1e20]),
    ],
)
def test_any_finite_number_is_a_label_where_no_class_is_named(tmp_path: Path, texts: list[str], expected: list[float]) -> None:
    text = "\n".join(["a,b,price", *(f"1,2,{label}" for label in texts)])
    dataset = opened(Csv(features={"x": ("a", "b")}, label="price"), write(tmp_path, text), x=(1, 2))
    [batch] = dataset.batches(10)
    assert batch.labels is not None
    assert batch.labels.tolist() == expected


@pytest.mark.parametrize(("encoding", "after"), [("utf-16", ""), ("latin-1", "after line 2: ")])
def test_a_file_that_is_not_utf_8_is_told_how_to_be_saved(tmp_path: Path, encoding: str, after: str) -> None:
    rows = ["a,b", "1,2", *["3,4"] * 5000, "\u00e4,5"]
    (tmp_path / "a.csv").write_bytes("\n".join(rows).encode(encoding))
    with pytest.raises(MlkitBuildError, match=r"expected UTF-8 text, found a byte that is not\n.*save it as UTF-8") as caught:
        whole(opened(SPEC, tmp_path / "a.csv", x=(1, 2)))
    assert ("after line" in caught.value.message) == bool(after)
