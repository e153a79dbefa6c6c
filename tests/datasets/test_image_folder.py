from __future__ import annotations

import os
import shutil
import struct
import sys
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlkit_build.datasets import skipping
from mlkit_build.datasets.images import _webp_size
from mlkit_build.errors import ConfigError, MlkitBuildError, SourceError
from mlkit_build.pipeline.datasets import content
from mlkit_build.pipeline.labelling import found_labels
from mlkit_build.recipe import ImageFolder, Labels
from tests.datasets.opening import labels, opened, whole

SPEC = ImageFolder(input="x", label="folder")
RGB, GREY = (1, 4, 6, 3), (1, 4, 6, 1)


def pixels(seed: int, height: int = 4, width: int = 6) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def save(path: Path, array: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for index in range(9):
        save(root / "abc"[index % 3] / f"{index}.png", pixels(index))
    return root


def test_folders_are_classes_in_the_order_of_their_names(folder: Path) -> None:
    dataset = opened(SPEC, folder, x=RGB)
    assert labels(dataset) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    np.testing.assert_array_equal(whole(dataset), np.stack([pixels(index) for index in (0, 3, 6, 1, 4, 7, 2, 5, 8)]))


def test_stated_classes_come_first_and_may_have_no_folder(folder: Path) -> None:
    dataset = opened(ImageFolder(input="x", label="folder", classes=("c", "unseen", "a", "b")), folder, x=RGB)
    assert labels(dataset) == [2, 2, 2, 3, 3, 3, 0, 0, 0]


def test_a_table_names_files_and_labels(folder: Path) -> None:
    (folder / "table.csv").write_text("label,image\nb,a/0.png\n1,c/2.png\na,b/1.png\n")
    spec = ImageFolder(input="x", table="table.csv", file="image", label="label", classes=("a", "b"))
    dataset = opened(spec, folder, x=RGB)
    assert labels(dataset) == [1, 1, 0]
    np.testing.assert_array_equal(whole(dataset), np.stack([pixels(0), pixels(2), pixels(1)]))


def test_without_labels_every_image_is_a_sample_wherever_it_lies(folder: Path) -> None:
    save(folder / "beside.png", pixels(20))
    save(folder / ".hidden.png", pixels(21))
    (folder / "notes.txt").write_text("no image")
    (batch,) = opened(ImageFolder(input="x"), folder, x=RGB).batches(20)
    assert batch.labels is None
    assert len(batch) == 10


def test_identities_and_choices_depend_on_the_files_bytes_alone(folder: Path, tmp_path: Path) -> None:
    some = ImageFolder(input="x", samples=5)
    before, chosen = set(opened(ImageFolder(input="x"), folder, x=RGB).identities()), opened(some, folder, x=RGB).identities()
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    for index, path in enumerate(sorted(moved.rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"renamed-{index}.png"))
    assert set(opened(ImageFolder(input="x"), moved, x=RGB).identities()) == before
    assert sorted(opened(some, moved, x=RGB).identities()) == sorted(chosen)
    other = opened(ImageFolder(input="x", samples=5, seed=1), folder, x=RGB).identities()
    assert sorted(other) != sorted(chosen)


def test_an_image_is_turned_as_exif_says(tmp_path: Path) -> None:
    array, exif = pixels(1, 6, 4), Image.Exif()
    exif[0x0112] = 6  # to be shown turned right by 90 degrees
    save(tmp_path / "a.png", array, exif=exif)
    np.testing.assert_array_equal(whole(opened(ImageFolder(input="x"), tmp_path, x=RGB))[0], np.rot90(array, -1))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_mode_becomes_the_channels_of_the_model(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(pixels(1)).convert(mode)
    suffix = "jpg" if mode == "CMYK" else "png"
    image.save(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as saved:
        expected = np.asarray(saved.convert("RGB"))
    np.testing.assert_array_equal(whole(opened(ImageFolder(input="x"), tmp_path, x=RGB))[0], expected)
    assert whole(opened(ImageFolder(input="x"), tmp_path, x=GREY)).shape == GREY


def test_of_16_bits_the_upper_8_are_taken(tmp_path: Path) -> None:
    values = (np.arange(24, dtype=np.uint16) * 2700).reshape(4, 6)
    save(tmp_path / "a.png", values)
    np.testing.assert_array_equal(whole(opened(ImageFolder(input="x"), tmp_path, x=GREY))[0, :, :, 0], values >> 8)


def test_the_whole_image_is_resized_unless_its_middle_is_asked_for(tmp_path: Path) -> None:
    array = np.zeros((8, 40, 3), np.uint8)
    array[:, 14:26] = 200  # the middle that has the model's proportions
    save(tmp_path / "a.png", array)
    cropped = whole(opened(ImageFolder(input="x", center_crop=True), tmp_path, x=RGB))
    assert (cropped == 200).all()
    assert (whole(opened(ImageFolder(input="x"), tmp_path, x=RGB))[0, :, 0] == 0).all()


def test_images_are_decoded_when_a_batch_is_looked_at(folder: Path) -> None:
    (folder / "a" / "0.png").write_bytes(b"damaged")
    batch = next(opened(SPEC, folder, x=RGB).batches(4))
    with pytest.raises(SourceError, match=r"a/0\.png: the image cannot be decoded: not an image"):
        _ = batch.features["x"]


def bomb() -> bytes:
    """Return a PNG of 60,000 x 60,000 pixels, a few kilobytes long."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bomb())
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match=r"a\.png: expected at most 67108864 pixels, found 60000 x 60000"):
            whole(opened(ImageFolder(input="x"), tmp_path, x=RGB))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("options", [{"quality": 50}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}])
def test_the_size_of_webp_is_known_before_it_is_opened(tmp_path: Path, options: dict[str, Any]) -> None:
    path = save(tmp_path / "a.webp", pixels(1, 40, 30), **options)
    assert _webp_size(path.read_bytes()) == (30, 40)
    data = bytearray(path.read_bytes())
    if data[12:16] == b"VP8X":
        data[24:30] = b"\xff\x3f\0\xff\x3f\0"
        path.write_bytes(bytes(data))
        with pytest.raises(SourceError, match="found 16384 x 16384"):
            whole(opened(ImageFolder(input="x"), tmp_path, x=RGB))
    else:
        assert whole(opened(ImageFolder(input="x"), tmp_path, x=RGB)).shape == RGB


@pytest.mark.parametrize("damage", ["empty", "truncated", "text"])
def test_an_image_that_cannot_be_read_is_named(folder: Path, damage: str) -> None:
    path = folder / "b" / "4.png"
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": data[: len(data) // 2], "text": b"<html>"}[damage])
    with pytest.raises(SourceError, match=r"b/4\.png: the image cannot be decoded") as caught:
        whole(opened(SPEC, folder, x=RGB))
    assert "take it out of the dataset" in caught.value.hint


def test_a_link_that_leads_nowhere_is_named(folder: Path) -> None:
    (folder / "b" / "9.png").symlink_to("nowhere")
    with pytest.raises(SourceError, match=r"^dataset\.path: .*b/9\.png: cannot be read: a link that leads nowhere") as caught:
        opened(SPEC, folder, x=RGB)
    assert caught.value.hint == "take it out of the folder, or mend it"


def test_folders_that_do_not_fit_the_classes_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no class is called 'c'; there are a, b, cc"):
        opened(ImageFolder(input="x", label="folder", classes=("a", "b", "cc")), folder, x=RGB)
    with pytest.raises(ConfigError, match="'a' is there twice"):
        opened(ImageFolder(input="x", label="folder", classes=("a", "b", "a")), folder, x=RGB)
    save(folder / "outside.png", pixels(1))
    with pytest.raises(ConfigError, match=r"outside\.png: expected every file in the folder of its class"):
        opened(SPEC, folder, x=RGB)
    (folder / "outside.png").unlink()
    (folder / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty: expected files of this class, found none") as caught:
        opened(SPEC, folder, x=RGB)
    assert caught.value.hint.endswith("; remove the folder, whose name counts as a class")


def test_a_folder_without_images_is_refused_where_the_classes_are_stated_too(folder: Path) -> None:
    (folder / "b" / "deeper").mkdir()
    for image in (folder / "b").glob("*.png"):
        image.rename(image.with_suffix(".tif"))
    with pytest.raises(ConfigError, match=r"images/b: expected files of this class, found none") as caught:
        opened(replace(SPEC, classes=("a", "b", "c")), folder, x=RGB)
    assert caught.value.hint.startswith("a class's files end with one of .jpg, ")
    with pytest.raises(ConfigError, match=r"images/b: no class is called 'b'; there are a, bb, c") as caught:
        opened(replace(SPEC, classes=("a", "bb", "c")), folder, x=RGB)
    assert caught.value.hint == (
        "did you mean 'bb'? rename the folder, move it elsewhere, or state the names of the classes with `classes`"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="its file systems have no such names")
def test_a_name_that_would_move_the_cursor_is_made_visible(folder: Path) -> None:
    (folder / "b" / "\x1b[2J\n::error::.png").write_bytes(b"<html>")
    dataset = opened(replace(SPEC, on_error="skip"), folder, x=RGB)
    assert dataset.skipped == (r"b/\x1b[2J\n::error::.png",)
    with pytest.raises(SourceError, match=r"b/\\x1b\[2J\\n::error::\.png: the image cannot be decoded"):
        whole(opened(SPEC, folder, x=RGB))


def test_a_sample_is_called_by_its_file(folder: Path) -> None:
    assert opened(SPEC, folder, x=RGB).sample(4) == "sample 4 (b/4.png)"


def test_a_folder_without_classes_or_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected samples, found none"):
        opened(ImageFolder(input="x"), tmp_path, x=RGB)
    save(tmp_path / "a.png", pixels(1))
    with pytest.raises(ConfigError, match="expected a folder for each class, found none"):
        opened(SPEC, tmp_path, x=RGB)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a/0.png,nothing", "line 2, column 'label': expected the index of a class, found 'nothing'"),
        ("a/99.png,0", r"line 2: expected a file at .*a/99\.png, found nothing"),
        ("a" * 5_000 + ",0", r"line 2: expected a file at .*aaa\.\.\., found nothing"),
        ("../images/a/0.png,0", "line 2: expected a file in .*, found '../images/a/0.png'"),
        (".hidden.png,0", "is hidden"),
        ("", "expected samples, found none"),
    ],
)
def test_a_wrong_row_of_a_table_is_named(folder: Path, rows: str, message: str) -> None:
    (folder / "table.csv").write_text(f"file,label\n{rows}\n")
    with pytest.raises(MlkitBuildError, match=message):
        opened(ImageFolder(input="x", table="table.csv", label="label"), folder, x=RGB)


@pytest.mark.parametrize("shape", [(1, 10), (1, 3, 8, 8), (1, 8, 8, 4), (1, 2, 8, 8, 3)])
def test_a_model_that_takes_no_images_is_refused(folder: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.input: expected an input \[1, height, width, channels\]"):
        opened(SPEC, folder, x=shape)


def test_memory_does_not_grow_with_the_folder(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        root = tmp_path / str(count)
        for index in range(count):
            save(root / f"{index}.jpg", np.full((64, 64, 3), index % 256, np.uint8))
        tracemalloc.start()
        try:
            dataset = opened(ImageFolder(input="x"), root, x=(1, 200, 200, 3))
            assert sum(len(batch.features["x"]) for batch in dataset.batches(16)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(160) < peak(40) + 1_000_000


def test_classes_that_are_the_labels_in_another_order_are_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("b\na\nc\n")
    spec = ImageFolder(input="x", label="folder", classes=("a", "b", "c"))
    labels = found_labels(Labels(path="labels.txt"), spec, None, lambda _, path: tmp_path / path)
    with pytest.raises(ConfigError, match=r"labels: expected the order of dataset\.classes, where class 0 is 'a', found 'b'"):
        content(spec, labels, labelled=True)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems have no such names")
def test_a_damaged_image_is_skipped_and_told_whatever_its_name(folder: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(folder / "b") + b"/caf\xe9.png"))
    odd.write_bytes(b"<html>")
    dataset = opened(replace(SPEC, on_error="skip"), folder, x=RGB)
    assert len(dataset) == 9
    assert dataset.skipped == (r"b/caf\udce9.png",)
    assert (
        skipping(dataset, "dataset").encode() == rb"dataset: 1 of 10 samples cannot be decoded and are left out: b/caf\udce9.png"
    )
    with pytest.raises(SourceError, match=r"b/caf\\udce9\.png: the image cannot be decoded") as caught:
        whole(opened(SPEC, folder, x=RGB))
    assert caught.value.message.encode()
