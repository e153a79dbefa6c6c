"""Listings of real files of every kind, changed as users change them: what is told is how many samples did."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.datasets import listing
from mlkit_build.datasets.listing import Listing, contradictions, listed, to_bytes
from mlkit_build.datasets.listing_changes import changed_samples
from mlkit_build.errors import MlkitBuildError
from mlkit_build.recipe import (
    AnyDataset,
    Csv,
    ExampleFeature,
    Idx,
    ImageFolder,
    Npy,
    Npz,
    PythonSamples,
    Random,
    TfRecord,
    WavFolder,
)
from mlkit_build.store import Tree
from tests.datasets.opening import opened, signature
from tests.datasets.test_idx import idx
from tests.datasets.test_image_folder import save
from tests.datasets.test_tfrecord import example, write
from tests.datasets.test_wav_folder import pcm

SHAPE = (4, 6, 3)
COUNT = 12
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE)).astype(np.uint8)
LABELS = np.arange(COUNT) % 3
Write = Callable[[Path, Any, Any], Path]


def npz(place: Path, images: Any, labels: Any) -> Path:
    np.savez_compressed(place / "a.npz", images=images, labels=labels)
    return place / "a.npz"


def npy(place: Path, images: Any, labels: Any) -> Path:
    np.save(place / "images.npy", images)
    np.save(place / "labels.npy", labels)
    return place


def idx_files(place: Path, images: Any, labels: Any) -> Path:
    (place / "images").write_bytes(gzip.compress(idx(images, images.dtype.str[1:])))
    (place / "labels").write_bytes(idx(labels, "u1"))
    return place


def csv(place: Path, images: Any, labels: Any) -> Path:
    rows = (",".join(map(str, [label, *image.ravel()])) for image, label in zip(images, labels, strict=True))
    (place / "a.csv").write_text("\n".join(rows) + "\n")
    return place / "a.csv"


def tfrecord(place: Path, images: Any, labels: Any) -> Path:
    pairs = zip(images, labels, strict=True)
    return write(place / "a.tfrecord", *(example(image=image.tobytes(), label=label) for image, label in pairs))


def image_folder(place: Path, images: Any, labels: Any) -> Path:
    """Write files that are called by their place."""
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        save(place / "images" / "abc"[label] / f"{index:02}.png", image)
    return place / "images"


def table(place: Path, images: Any, labels: Any) -> Path:
    for index, image in enumerate(images):
        save(place / "images" / f"{index:02}.png", image)
    rows = [f"{index:02}.png,{label}" for index, label in enumerate(labels)]
    (place / "images" / "table.csv").write_text("\n".join(["file,class", *rows]))
    return place / "images"


def wav_folder(place: Path, images: Any, labels: Any) -> Path:
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        pcm(place / "sounds" / "abc"[label] / f"{index:02}.wav", image.ravel() / 255.0, 16)
    return place / "sounds"


KINDS: dict[str, tuple[AnyDataset, Write]] = {
    "npz": (Npz(features={"x": "images"}, label="labels"), npz),
    "npy": (Npy(features={"x": "images.npy"}, label="labels.npy"), npy),
    "idx": (Idx(features={"x": "images"}, label="labels"), idx_files),
    "csv": (Csv(features={"x": ("1..72",)}, label="0", header=False, types={"x": "uint8"}), csv),
    "tfrecord": (TfRecord(features={"x": ExampleFeature(key="image", format="raw", type="uint8")}, label="label"), tfrecord),
    "image_folder": (ImageFolder(input="x", label="folder"), image_folder),
    "table": (ImageFolder(input="x", table="table.csv", file="file", label="class"), table),
    "wav_folder": (WavFolder(input="x", sample_rate=16000, label="folder"), wav_folder),
}


def seen(kind: str, place: Path, images: Any, labels: Any, **changes: Any) -> Listing:
    """Write the samples to an empty folder; return their listing, as it is read back from the cache."""
    spec, made = KINDS[kind]
    place.mkdir()
    shape = (1, 72) if kind == "wav_folder" else (1, *SHAPE)
    found = listed(replace(spec, **changes), made(place, images, labels), "dataset", signature(x=shape))
    kept = Listing.from_bytes(to_bytes(found))
    assert found == kept
    assert kept is not None
    return kept


def other(index: int) -> Any:
    images = IMAGES.copy()
    images[index, 1, 2] ^= 1
    return images


@pytest.mark.parametrize("kind", KINDS)
def test_of_every_kind_it_is_told_what_changed(tmp_path: Path, kind: str) -> None:
    relabelled = LABELS.copy()
    relabelled[5] = (relabelled[5] + 1) % 3
    more = np.concatenate([IMAGES, 255 - IMAGES[:2]]), np.concatenate([LABELS, LABELS[:2]])
    before = seen(kind, tmp_path / "before", IMAGES, LABELS)
    both = other(3)
    both[7] = 0
    told = {
        "one": changed_samples(before, seen(kind, tmp_path / "one", other(3), LABELS)),
        "two": changed_samples(before, seen(kind, tmp_path / "two", both, LABELS)),
        "label": changed_samples(before, seen(kind, tmp_path / "label", IMAGES, relabelled)),
        "fewer": changed_samples(before, seen(kind, tmp_path / "fewer", IMAGES[1:], LABELS[1:])),
        "more": changed_samples(before, seen(kind, tmp_path / "more", *more)),
        "order": changed_samples(before, seen(kind, tmp_path / "order", IMAGES[::-1], LABELS[::-1])),
        "nothing": changed_samples(before, seen(kind, tmp_path / "again", IMAGES, LABELS)),
    }
    assert told == {
        "one": "1 of 12 samples changed",
        "two": "2 of 12 samples changed",
        "label": "1 of 12 samples with another label",
        "fewer": "1 of 12 samples removed",
        "more": "2 samples added to 12",
        "order": "the same 12 samples in another order",
        "nothing": "the same 12 samples, stored otherwise",
    }


def test_the_first_files_of_a_folder_are_named(tmp_path: Path) -> None:
    before = seen("image_folder", tmp_path / "before", IMAGES, LABELS)
    spec, folder = KINDS["image_folder"][0], tmp_path / "before" / "images"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))

    def told() -> str:
        now = listed(spec, folder, "dataset", None)
        assert now is not None
        return changed_samples(before, now)

    (folder / files[0]).write_bytes(b"1")
    assert told() == f"1 of 12 samples changed ({files[0]})"
    other_class = next(name for name in files if name[0] != files[1][0])[0]
    (folder / files[1]).rename(folder / other_class / "moved.png")
    assert told() == f"1 of 12 samples changed ({files[0]}), 1 of 12 samples with another label ({other_class}/moved.png)"
    (folder / other_class / "moved.png").rename(folder / files[1])
    for name in files[1:4]:
        (folder / name).write_bytes(name.encode())
    assert told() == f"4 of 12 samples changed ({', '.join(files[:3])}, ...)"
    (folder / files[11]).unlink()
    assert told() == f"4 of 12 samples changed ({', '.join(files[:3])}, ...), 1 of 12 samples removed"
    for name in ("x", "y"):
        (folder / other_class / f"{name}.png").write_bytes(name.encode())
    assert told().startswith("5 of 12 samples changed, 1 sample added to 12 (changed or added: ")


def test_a_file_with_two_labels_is_told_in_folders_and_in_tables(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    spec = ImageFolder(input="x", label="folder")

    def told(spec: ImageFolder) -> str:
        return contradictions(listed(spec, tmp_path, "dataset", None), "dataset")

    (tmp_path / "a" / "2.png").write_bytes(b"a/1.png")
    assert told(spec) == ""
    (tmp_path / "b" / "3.png").write_bytes(b"a/1.png")
    one = "dataset: a/1.png and b/3.png are the same file and labelled as two classes"
    assert told(spec) == f"{one}; one of the labels is wrong"
    (tmp_path / "b" / "4.png").write_bytes(b"a/1.png")
    assert told(spec) == f"{one}, and so is 1 more pair; one of the labels is wrong"
    assert told(replace(spec, label=None)) == ""
    (tmp_path / "t.csv").write_text("file,label\na/1.png,0\na/1.png,1\n")
    table = replace(spec, table="t.csv", label="label")
    assert told(table) == "dataset: a/1.png is labelled as two classes; one of the labels is wrong"


def test_no_file_is_named_where_a_copy_makes_it_doubtful(tmp_path: Path) -> None:
    before = seen("image_folder", tmp_path / "before", IMAGES, LABELS)
    first, second = sorted((tmp_path / "before").rglob("*.png"))[:2]
    first.write_bytes(second.read_bytes())
    now = listed(KINDS["image_folder"][0], tmp_path / "before" / "images", "dataset", None)
    assert now is not None
    assert changed_samples(before, now) == "1 of 12 samples changed"


def test_several_changes_are_told_together(tmp_path: Path) -> None:
    images, labels = other(0)[:-1], LABELS[:-1].copy()
    labels[4] = 0
    told = changed_samples(seen("npz", tmp_path / "a", IMAGES, LABELS), seen("npz", tmp_path / "b", images, labels))
    assert told == "1 of 12 samples changed, 1 of 12 samples removed, 1 of 12 samples with another label"


@pytest.mark.parametrize("kind", ["npz", "npy", "idx"])
def test_another_dtype_is_told_and_not_called_other_samples(tmp_path: Path, kind: str) -> None:
    before = seen(kind, tmp_path / "a", IMAGES, LABELS)
    wider = seen(kind, tmp_path / "b", IMAGES.astype(np.float32), LABELS)
    assert changed_samples(before, wider) == "x: uint8 [4, 6, 3] -> float32 [4, 6, 3], in all 12 samples"
    fewer = seen(kind, tmp_path / "c", IMAGES[:9, :2], LABELS[:9])
    assert changed_samples(before, fewer) == "x: uint8 [4, 6, 3] -> uint8 [2, 6, 3], in 12 -> 9 samples"


def test_labels_of_another_dtype_are_the_same_labels(tmp_path: Path) -> None:
    before = seen("npz", tmp_path / "a", IMAGES, LABELS.astype(np.int64))
    assert changed_samples(before, seen("npz", tmp_path / "b", IMAGES, LABELS.astype(np.uint8))) == (
        "the same 12 samples, stored otherwise"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_chosen_samples_count(tmp_path: Path, kind: str) -> None:
    whole = seen(kind, tmp_path / "a", IMAGES, LABELS)
    some = seen(kind, tmp_path / "b", IMAGES, LABELS, samples=5, seed=3)
    assert len(some.samples) == 5
    assert set(some.samples) < set(whole.samples)
    halves = [seen(kind, tmp_path / split[:2], IMAGES, LABELS, split=split).samples for split in ("0:50%", "50:100%")]
    assert sorted([*halves[0], *halves[1]]) == sorted(whole.samples)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"npz", "npy", "idx"}))
def test_a_sample_is_listed_by_the_identity_that_chooses_it(tmp_path: Path, kind: str) -> None:
    spec, made = KINDS[kind]
    path = made(tmp_path, IMAGES, LABELS)
    shape = (1, 72) if kind == "wav_folder" else (1, *SHAPE)
    found = listed(spec, path, "dataset", signature(x=shape))
    assert found is not None
    assert found.samples == tuple(identity[:8] for identity in opened(spec, path, x=shape).identities())


@pytest.mark.parametrize("kind", ["image_folder", "table", "wav_folder"])
def test_files_whose_digests_are_known_are_not_opened(tmp_path: Path, kind: str) -> None:
    spec, made = KINDS[kind]
    path = made(tmp_path, IMAGES, LABELS)
    expected = listed(spec, path, "dataset", None)
    known = {name: hashlib.sha256((path / name).read_bytes()).digest() for name in Tree(path).listed() if "." in name}
    for name in known:
        if not name.endswith(".csv"):
            (path / name).write_bytes(b"nobody looks")
    assert listed(spec, path, "dataset", None, known.__getitem__) == expected


def test_damaged_samples_are_listed_too(tmp_path: Path) -> None:
    path = image_folder(tmp_path, IMAGES, LABELS)
    (path / "a" / "00.png").write_bytes(b"no image")
    found = listed(ImageFolder(input="x", label="folder", on_error="skip"), path, "dataset", signature(x=(1, *SHAPE)))
    assert found is not None
    assert found.samples[0] == hashlib.sha256(b"no image").digest()[:8]


@pytest.mark.parametrize(
    ("kind", "bound"),
    [("npz", "_ARRAY_BYTES"), ("npy", "_ARRAY_BYTES"), ("idx", "_ARRAY_BYTES"), ("csv", "_CSV_BYTES"),
     ("tfrecord", "_TFRECORD_BYTES"), ("image_folder", "_FOLDER_BYTES"), *((kind, "MOST_SAMPLES") for kind in KINDS)],
)  # fmt: skip
def test_what_is_large_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, bound: str) -> None:
    spec, made = KINDS[kind]
    path, taken = made(tmp_path, IMAGES, LABELS), signature(x=(1, 72) if kind == "wav_folder" else (1, *SHAPE))
    if bound == "MOST_SAMPLES":
        exact = COUNT
    elif kind == "image_folder":
        exact = sum(file.stat().st_size for file in path.rglob("*.png"))
    else:
        exact = COUNT * (72 + (1 if kind == "idx" else 8)) if bound == "_ARRAY_BYTES" else path.stat().st_size
    monkeypatch.setattr(listing, bound, exact)
    assert listed(spec, path, "dataset", taken) is not None
    monkeypatch.setattr(listing, bound, exact - 1)
    assert listed(spec, path, "dataset", taken) is None


def test_a_small_file_that_grows_when_it_is_read_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=np.zeros((1, 40 << 20), np.uint8))
    assert path.stat().st_size < 100_000
    assert listed(Npz(features={"x": "images"}, split="0:100%"), path, "dataset", None) is None


def test_code_is_not_run_and_noise_is_not_listed(tmp_path: Path) -> None:
    for spec in (PythonSamples(function="nothing.py:here"), Random(samples=5)):
        assert listed(spec, tmp_path, "dataset", None) is None
    assert Listing.from_bytes(to_bytes(None)) is None


def test_a_damaged_file_is_refused_as_it_is_elsewhere(tmp_path: Path) -> None:
    path = npz(tmp_path, IMAGES, LABELS)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(MlkitBuildError):
        listed(KINDS["npz"][0], path, "dataset", None)


PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=8)


@given(before=PAIRS, after=PAIRS)
def test_the_numbers_are_those_of_the_fewest_changes(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> None:
    """Against a greedy matching, sample by sample: first equal ones, then those of another label, then what is left over."""
    old, new = (
        Listing.of({}, [(bytes([sample] * 8), label) for sample, label in pairs], labelled=True) for pairs in (before, after)
    )
    left, came = list(before), list(after)
    for pair in before:
        if pair in came:
            left.remove(pair)
            came.remove(pair)
    relabelled = 0
    for sample, label in list(left):
        twin = next((pair for pair in came if pair[0] == sample), None)
        if twin:
            left.remove((sample, label))
            came.remove(twin)
            relabelled += 1
    changed = min(len(left), len(came))
    expected = {
        "changed": changed, "removed": len(left) - changed, "added": len(came) - changed, "another label": relabelled,
    }  # fmt: skip
    told = changed_samples(old, new)
    found = dict.fromkeys(expected, 0)
    for part in told.split(", ") if not told.startswith("the same") else ():
        found[next(word for word in expected if word in part)] = int(part.split()[0])
    assert found == expected
    if not any(expected.values()):
        assert told.endswith("stored otherwise" if before == after else "in another order")


def test_maps_of_labels_are_not_held(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).integers(0, 9, (40, 128, 128), np.uint8)
    np.savez(tmp_path / "a.npz", x=np.arange(40), y=maps)
    spec = Npz(path="", features={"x": "x"}, label="y")
    tracemalloc.start()
    try:
        found = listed(spec, tmp_path / "a.npz", "dataset", None)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found is not None
    assert found.labels == Listing.of({}, ((b"", label) for label in maps.astype(np.float32)), labelled=True).labels
    assert held < maps.nbytes
    assert peak < 6 * maps.nbytes, "as float64 they are eight times as large"
