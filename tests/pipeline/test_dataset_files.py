"""Which files of a folder are a dataset's, and what is said of a place where none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.pipeline.dataset_files import dataset_files
from mlkit_build.recipe import AnyDataset, ImageFolder, Npy, Npz, TfRecord, WavFolder
from mlkit_build.store import DiskStore, FileDigests, Tree


def located(path: str, sha256: str | None, field: str) -> Path:
    raise AssertionError("nothing here is a URL")


def found(dataset: AnyDataset, folder: Path) -> Path | Tree:
    return dataset_files(dataset, folder, "dataset", located)


def digest(dataset: AnyDataset, folder: Path) -> str:
    return FileDigests(DiskStore(folder / "cache")).digest(found(dataset, folder)).sha256


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("dataset", "sample"),
    [(ImageFolder(path="data", input="x", label="folder"), "data__cat__1_jpg"),
     (WavFolder(path="data", input="x", sample_rate=16000, label="folder"), "data__cat__1_wav")],
)  # fmt: skip
def test_what_is_no_sample_changes_no_digest(dataset: AnyDataset, sample: str, tmp_path: Path) -> None:
    write(tmp_path, **{sample: "1"})
    before = digest(dataset, tmp_path)
    write(tmp_path, data__Thumbs_db="x", data__cat__notes_txt="x")
    assert digest(dataset, tmp_path) == before
    write(tmp_path, **{sample: "2"})
    assert digest(dataset, tmp_path) != before


def test_an_empty_folder_counts_since_it_is_a_class(tmp_path: Path) -> None:
    dataset = ImageFolder(path="data", input="x", label="folder")
    write(tmp_path, data__cat__1_jpg="1")
    before = digest(dataset, tmp_path)
    (tmp_path / "data" / "dog").mkdir()
    assert digest(dataset, tmp_path) != before


def test_with_a_table_what_it_names_counts_and_the_table(tmp_path: Path) -> None:
    dataset = ImageFolder(path="data", input="x", label="class", table="samples.csv")
    write(tmp_path, data__samples_csv="file,class\nfirst,0\n", data__first="1", data__2_jpg="2")
    before = digest(dataset, tmp_path)
    write(tmp_path, data__other="x")
    assert digest(dataset, tmp_path) == before
    write(tmp_path, data__first="other")
    changed = digest(dataset, tmp_path)
    write(tmp_path, data__samples_csv="file,class\nfirst,1\n")
    assert len({before, changed, digest(dataset, tmp_path)}) == 3


def test_a_table_that_is_none_is_refused_as_when_its_samples_are_read(tmp_path: Path) -> None:
    dataset = ImageFolder(path="data", input="x", label="class", table="samples.csv")
    write(tmp_path, data__samples_csv="name,class\nfirst,0\n", data__first="1")
    with pytest.raises(ConfigError, match=r"dataset\.file: .*'?file"):
        digest(dataset, tmp_path)


LONG = "a" * 5_000


@pytest.mark.parametrize(
    ("dataset", "field"),
    [
        (Npz(path=LONG, features={"x": "x"}), "dataset.path"),
        (Npz(path="../" + LONG, features={"x": "x"}), "dataset.path"),
        (ImageFolder(path=LONG, input="x"), "dataset.path"),
        (TfRecord(path=LONG), "dataset.path"),
        (Npy(path=".", features={"x": LONG}), "dataset.features.x"),
        (Npy(path=".", features={"x": "a\0b"}), "dataset.features.x"),
        (Npy(path="../here", features={"x": "a\0b"}), "dataset.features.x"),
        (ImageFolder(path=".", input="x", table=LONG, label="class"), "dataset.table"),
    ],
)
def test_a_name_that_no_file_can_have_is_refused_by_its_field(dataset: AnyDataset, field: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(
        SourceError, match=rf"^{field}: expected a (file|folder) at .*, found nothing(: the name is too long for one)?(\n|$)"
    ) as caught:
        found(dataset, tmp_path / "here")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1_000
