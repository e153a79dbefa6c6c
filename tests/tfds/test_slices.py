"""Splits in the words of TensorFlow Datasets, against what the library itself reads for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.errors import ConfigError
from mlkit_build.tfds.prepared import read_prepared
from mlkit_build.tfds.slices import slices_of

SPLITS = {"train": [6, 5, 6], "test": [10]}


def test_every_split_is_what_the_library_reads_for_it(prepared: Path) -> None:
    found = read_prepared(prepared / "tfrecord" / "tiny" / "1.2.0", "dataset")
    numbers = json.loads((prepared / "slices.json").read_text())
    whole = {name: numbers[name] for name in ("train", "test")}
    lengths = {name: [shard.samples for shard in shards] for name, shards in found.splits.items()}
    assert len(numbers) > 20
    for stated, expected in numbers.items():
        placed = slices_of("dataset.split", stated, lengths)
        assert [n for part in placed for n in whole[part.split][part.first : part.end]] == expected, stated
        pieces = found.pieces("dataset.split", stated)
        assert sum(piece.end - piece.first for piece in pieces) == len(expected), stated
        assert all(0 <= piece.first < piece.end <= piece.shard.samples for piece in pieces), stated


def test_only_the_shards_that_a_slice_needs_are_read(prepared: Path) -> None:
    found = read_prepared(prepared / "tfrecord" / "tiny" / "1.2.0", "dataset")
    assert [piece.shard.file for piece in found.pieces("dataset.split", "train[:2]")] == ["tiny-train.tfrecord-00000-of-00003"]
    assert [piece.shard.file[-14:] for piece in found.pieces("dataset.split", "train[5:]")] == [
        "00000-of-00003",
        "00001-of-00003",
        "00002-of-00003",
    ]


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("tset", "dataset.split: no split 'tset'; there are train, test"),
        ("", "expected a split as TensorFlow Datasets writes it, found ''"),
        ("test[]", "found 'test[]'"),
        ("test[:]", "found 'test[:]'"),
        ("test[1:2:3]", "found 'test[1:2:3]'"),
        ("test[:1.5]", "found 'test[:1.5]'"),
        ("test[a:]", "found 'test[a:]'"),
        ("test[:10%", "found 'test[:10%'"),
        ("test+", "found ''"),
        ("80:100%", "found '80:100%'"),
        ("test[5]", "expected a slice with a colon, found 'test[5]'"),
        ("all[:10%]", "expected `all` without a slice"),
        ("test[:11]", "'test[:11]' asks for more than the 10 samples of the split 'test'"),
        ("test[-110%:]", "asks for more than the 10 samples"),
    ],
)
def test_what_is_no_split_is_refused_in_words(stated: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        slices_of("dataset.split", stated, SPLITS)
    assert message in raised.value.message


def test_a_misspelt_split_is_guessed() -> None:
    with pytest.raises(ConfigError) as raised:
        slices_of("dataset.split", "tset", SPLITS)
    assert raised.value.hint == "did you mean 'test'?"


@given(st.text(alphabet="train[]:-+%0123456789.shd_", max_size=24))
def test_no_text_asks_for_samples_that_are_not_there(stated: str) -> None:
    try:
        found = slices_of("dataset.split", stated, SPLITS)
    except ConfigError:
        return
    assert all(0 <= part.first < part.end <= sum(SPLITS[part.split]) for part in found)


@given(st.integers(0, 100), st.integers(0, 300))
def test_two_parts_are_the_whole_and_share_nothing(percent: int, count: int) -> None:
    splits = {"train": [count]}
    parts = [*slices_of("f", f"train[:{percent}%]", splits), *slices_of("f", f"train[{percent}%:]", splits)]
    assert [n for part in parts for n in range(part.first, part.end)] == list(range(count))
