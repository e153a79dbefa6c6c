"""Parts of a dataset by content: disjoint, complete, and the same whatever else there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlkit_build.errors import ConfigError
from mlkit_build.recipe import Csv, Npz
from tests.conftest import Workspace
from tests.datasets.opening import labels, opened, whole

COUNT = 1000


def npz(folder: Path, values: range | list[int]) -> Path:
    np.savez(folder / "a.npz", x=np.array(values, np.float32)[:, None], y=np.array(values))
    return folder / "a.npz"


def part(path: Path, split: str | None, samples: int | None = None) -> list[int]:
    dataset = opened(Npz(features={"x": "x"}, label="y", split=split, samples=samples), path)
    found = labels(dataset)
    np.testing.assert_array_equal(whole(dataset)[:, 0], found)
    assert len(dataset) == len(dataset.identities()) == len(found)
    return found


def test_parts_are_disjoint_and_together_all_and_about_as_large_as_stated(tmp_path: Path) -> None:
    path = npz(tmp_path, range(COUNT))
    parts = [part(path, split) for split in ("0:12.5%", "12.5:80%", "80:100%")]
    assert sorted(value for found in parts for value in found) == list(range(COUNT))
    for found, share in zip(parts, (0.125, 0.675, 0.2), strict=True):
        assert abs(len(found) - share * COUNT) < 5 * np.sqrt(COUNT * share * (1 - share))  # five standard deviations
    assert part(path, "0:100%") == part(path, None) == list(range(COUNT))


def test_a_sample_stays_in_its_part_whatever_the_order_and_the_others(tmp_path: Path) -> None:
    before = set(part(npz(tmp_path, range(COUNT)), "0:80%"))
    assert set(part(npz(tmp_path, list(range(COUNT))[::-1]), "0:80%")) == before
    assert set(part(npz(tmp_path, range(COUNT // 2)), "0:80%")) == {value for value in before if value < COUNT // 2}


def test_samples_are_chosen_within_the_part(tmp_path: Path) -> None:
    path = npz(tmp_path, range(COUNT))
    assert set(part(path, "80:100%", 50)) < set(part(path, "80:100%"))
    with pytest.raises(ConfigError, match=r"dataset\.samples: 900 asked, but 80:100% of .*a\.npz has \d+$"):
        part(path, "80:100%", 900)
    with pytest.raises(ConfigError, match=r"dataset\.split: expected samples in 0:0\.0001% of .*, which has 1000, found none"):
        part(path, "0:0.0001%")


def test_records_are_parted_as_arrays_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["x,y", *(f"{value},{value}" for value in range(COUNT))]))
    found = labels(opened(Csv(features={"x": ("x",)}, label="y", split="80:100%"), tmp_path / "a.csv", x=(1, 1)))
    assert found == part(npz(tmp_path, range(COUNT)), "80:100%")


def test_one_file_is_calibration_and_dataset(warm_workspace: Workspace) -> None:
    folder = warm_workspace.copy("mnist", "mine")
    with np.load(folder / "data" / "mnist_test.npz") as archive:
        np.savez(folder / "all.npz", images=archive["images"][:500], labels=archive["labels"][:500])
    stated = {"kind": "npz", "path": "all.npz", "features": {"image": "images"}}
    changes = {"calibration": {**stated, "split": "0:40%"}, "dataset": {**stated, "label": "labels", "split": "40:100%"}}
    warm_workspace.edit("mine", {"name": "mine", "validation": {"metrics": ["top1"]}, **changes})
    report = warm_workspace.build("recipe=mine")
    assert report.error is None, report.error
    warm_workspace.edit("mine", {"calibration.split": "0:41%"})
    assert "are also in the validation dataset" in str(warm_workspace.build("recipe=mine").error)


@pytest.mark.parametrize("split", ["80%", "80:20%", "80:80%", "0:101%", "-1:50%", "0:80", "a:b%", ""])
def test_what_is_no_part_is_refused(workspace: Workspace, split: str) -> None:
    workspace.copy("add_one", "mine")
    workspace.edit("mine", {"name": "mine", "dataset": {"kind": "npz", "path": "a.npz", "features": {"x": "x"}, "split": split}})
    with pytest.raises(ConfigError) as caught:
        workspace.compose("recipe=mine")
    assert f"dataset.split: expected a part as `FROM:TO%`, within 0:100%, found {split!r}" in str(caught.value)
