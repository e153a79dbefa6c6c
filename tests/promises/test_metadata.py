"""What the README and `docs/mlkit.md` promise of metadata: a verb for any file, and the recipe's fields in the shipped one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlkit_build.config.roots import builtin
from mlkit_build.errors import ConfigError
from mlkit_build.mlkit.associated_files import extracted
from mlkit_build.mlkit.metadata import ScoreCalibration, ScoreTransformation, attach, read
from tests.conftest import Workspace
from tests.mlkit.contract.cases import BROKEN
from tests.mlkit.test_metadata import SAID, small
from tests.promises.conftest import Command, snapshot

GERMAN = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")


@pytest.fixture
def files(workspace: Workspace) -> Path:
    """A folder with `plain.tflite`, `said.tflite` and files of labels, good and bad."""
    folder = workspace.folder
    (folder / "plain.tflite").write_bytes(small())
    (folder / "said.tflite").write_bytes(attach(small(), SAID))
    (folder / "labels.txt").write_text("cat\ndog\ncow\n")
    (folder / "two.txt").write_text("cat\ndog\n")
    (folder / "noise.tflite").write_bytes(bytes(range(256)))
    (folder / "classes.csv").write_text("id,en\n0,cat\n1,dog\n2,cow\n")
    (folder / "c.csv").write_text("1,2,3\n\n1,2,3,0.5")
    return folder


def test_the_verb_writes_what_it_is_told(files: Path, command: Command) -> None:
    said = ("--labels", "classes.csv", "--labels-column", "en", "--locale", "de=labels.txt", "--score-threshold", "0.25")
    more = ("--score-calibration", "c.csv", "--score-transformation", "log", "--default-score", "0.125")
    texts = ("--name", "farm", "--description", "Of a farm.", "--model-version", "2", "--author", "me", "--license", "MIT")
    code, out, err = command("metadata", "plain.tflite", "-o", "out.tflite", *said, *more, *texts)
    assert (code, err) == (0, "")
    assert out == f"out.tflite: {(files / 'out.tflite').stat().st_size} bytes\n"
    found = read((files / "out.tflite").read_bytes())
    assert (found.name, found.description, found.version, found.author, found.license) == ("farm", "Of a farm.", "2", "me", "MIT")
    (scores,) = found.outputs
    assert (scores.name, scores.labels, scores.locales) == ("scores", ("cat", "dog", "cow"), {"de": ("cat", "dog", "cow")})
    assert scores.score_threshold == 0.25
    expected = ScoreCalibration(((1.0, 2.0, 3.0), (), (1.0, 2.0, 3.0, 0.5)), ScoreTransformation.LOG, 0.125)
    assert scores.score_calibration == expected
    # The Task Library counts a newline at the end of this file, and not of the other.
    assert extracted((files / "out.tflite").read_bytes())["score_calibration.csv"] == b"1.0,2.0,3.0\n\n1.0,2.0,3.0,0.5"


REFUSED = {
    "no file": (("nothing.tflite",), "nothing.tflite: cannot be read: No such file"),
    "a folder": (("recipes",), "recipes: cannot be read: Is a directory"),
    "a device": (("/dev/zero",), "/dev/zero: expected a file, found a pipe or a device"),
    "noise": (("noise.tflite",), "The model is not a valid Flatbuffer"),
    "metadata": (("said.tflite",), "--existing: the file has metadata named 'pictures' and the files labels.txt"),
    "too few": (
        ("plain.tflite", "--labels", "two.txt"),
        "Got 3 class(es) for output index 0, expected 2 according to the label map",
    ),
    "no labels": (("plain.tflite", "--labels", "none.txt"), "--labels: none.txt: cannot be read"),
    "no column": (("plain.tflite", "--labels", "classes.csv", "--labels-column", "fr"), "no column 'fr'"),
    "a language": (
        ("plain.tflite", "--labels", "labels.txt", "--locale", "de=two.txt"),
        "--locale de: two.txt: expected 3 labels",
    ),
    "no language": (("plain.tflite", "--labels", "labels.txt", "--locale", "two.txt"), "--locale: expected LANG=FILE"),
    "a path": (("plain.tflite", "--labels", "labels.txt", "--locale", "../x=two.txt"), "expected a language, found '../x'"),
    "only a language": (("plain.tflite", "--locale", "de=two.txt"), "--labels: expected a file of labels, found none"),
    "a threshold": (("plain.tflite", "--score-threshold", "50"), "--score-threshold: expected a score between 0 and 1, found 50"),
    "not a number": (("plain.tflite", "--score-threshold", "nan"), "expected a score between 0 and 1, found nan"),
    "no names": (("plain.tflite", "--score-calibration", "c.csv"), "--score-calibration: expected labels, found none"),
    "no image": (("plain.tflite", "--mean", "0", "--std", "1"), "expected an image [1, height, width, 3], found the input"),
    "no float32": (
        ("plain.tflite", "--labels", "labels.txt", "--score-calibration", "c.csv", "--default-score", "1e39"),
        "--default-score: expected a finite number that float32 can hold",
    ),
    "no such input": (("plain.tflite", "--input", "pitcure"), "--input: expected one of picture, found 'pitcure'"),
    "no such output": (("plain.tflite", "--scores", "x"), "--scores: expected one of scores, found 'x'"),
    "not numbers": (("plain.tflite", "--mean", "a,b", "--std", "1"), "expected numbers with commas between them, found 'a,b'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_named_and_nothing_is_written(files: Path, command: Command, case: str) -> None:
    (files / "recipes").mkdir()
    before = snapshot(files)
    arguments, words = REFUSED[case]
    code, out, err = command("metadata", *arguments, "--output", "out.tflite")
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert snapshot(files) == before


@pytest.mark.parametrize(
    ("place", "words"),
    [("plain.tflite", "--output: plain.tflite exists"), (".", "found the folder"), ("no/out.tflite", "in a folder that exists")],
)
def test_what_is_there_is_not_overwritten_unasked(files: Path, command: Command, place: str, words: str) -> None:
    before = snapshot(files)
    code, _, err = command("metadata", "plain.tflite", "--output", place)
    assert code == 2
    assert words in err
    assert snapshot(files) == before


def test_what_is_no_file_is_never_replaced(files: Path, command: Command) -> None:
    os.mkfifo(files / "pipe")
    (files / "link").symlink_to("nowhere")
    code, _, err = command("metadata", "plain.tflite", "-o", "pipe", "--overwrite")
    assert (code, "expected a file, found pipe, which is no regular file" in err) == (2, True)
    code, _, err = command("metadata", "plain.tflite", "-o", "link")
    assert (code, "--output: link exists" in err) == (2, True)
    assert stat.S_ISFIFO((files / "pipe").stat().st_mode)
    assert (files / "link").is_symlink()


def test_permissions_are_those_of_the_user_and_of_the_file_before(files: Path, command: Command) -> None:
    before = os.umask(0o027)
    try:
        assert command("metadata", "plain.tflite", "-o", "o.tflite")[0] == 0
        assert (files / "o.tflite").stat().st_mode & 0o777 == 0o640
        (files / "o.tflite").chmod(0o664)
        assert command("metadata", "plain.tflite", "-o", "o.tflite", "--overwrite")[0] == 0
    finally:
        os.umask(before)
    assert (files / "o.tflite").stat().st_mode & 0o777 == 0o664


def test_bytes_that_are_no_text_are_named_or_replaced(files: Path, command: Command) -> None:
    code, _, err = command("metadata", "plain.tflite", "-o", "o.tflite", "--name", os.fsdecode(b"a\xff"))
    assert code == 2
    assert err.startswith("error: --name: expected text in UTF-8, found 'a")
    (files / os.fsdecode(b"b\xff.tflite")).write_bytes(small())
    assert command("metadata", os.fsdecode(b"b\xff.tflite"), "-o", "o.tflite")[0] == 0
    assert read((files / "o.tflite").read_bytes()).name == "b\N{REPLACEMENT CHARACTER}"


def test_a_file_is_described_in_place_when_asked_and_what_went_is_named(files: Path, command: Command) -> None:
    code, out, _ = command("metadata", "said.tflite", "--output", "said.tflite", "--overwrite", "--existing", "replace")
    assert code == 0
    assert "  replaced: metadata\n  dropped: labels.txt\n" in out
    found = read((files / "said.tflite").read_bytes())
    assert (found.name, found.outputs[0].labels) == ("said", ())
    assert sorted(path.name for path in files.iterdir() if path.name.startswith(".")) == []


def test_labels_in_place_of_others_are_not_called_dropped(files: Path, command: Command) -> None:
    code, out, _ = command("metadata", "said.tflite", "-o", "o.tflite", "--existing", "replace", "--labels", "labels.txt")
    assert code == 0
    assert "  replaced: metadata, labels.txt\n" in out
    assert "dropped" not in out


def test_what_a_file_says_already_is_kept_and_told(files: Path, command: Command) -> None:
    code, out, _ = command(
        "metadata", "said.tflite", "-o", "o.tflite", "--existing", "keep", "--author", "me", "--labels", "labels.txt"
    )
    assert code == 0
    assert [line.strip() for line in out.splitlines()[1:]] == [
        "kept what the file says already: author",
        "kept what the file says already: labels",
    ]
    assert read((files / "o.tflite").read_bytes()) == SAID


def test_labels_that_repeat_are_warned_of(files: Path, command: Command) -> None:
    (files / "labels.txt").write_text("crane\ndog\ncrane\n")
    code, out, _ = command("metadata", "plain.tflite", "-o", "o.tflite", "--labels", "labels.txt")
    assert code == 0
    assert "warning: --labels: 'crane' names the classes of lines 1, 3; an app cannot tell them apart" in out


@pytest.mark.parametrize(("mean", "std", "field"), [("1e39", "1", "--mean"), ("0", "1e-50", "--std"), ("0", "1e-45", "--std")])
def test_normalization_is_what_float32_holds(files: Path, command: Command, mean: str, std: str, field: str) -> None:
    (files / "image.tflite").write_bytes(BROKEN["no normalization"].make())
    code, out, err = command("metadata", "image.tflite", "--existing", "replace", "-o", "o.tflite", "--mean", mean, "--std", std)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {field}: expected ")
    assert not (files / "o.tflite").exists()


def test_equal_commands_give_equal_bytes_without_tensorflow_or_litert(files: Path) -> None:
    program = (
        "import sys; from mlkit_build.cli import run; code = run(sys.argv[1:]); "
        "assert not {'tensorflow', 'ai_edge_litert', 'ai_edge_quantizer'} & set(sys.modules); sys.exit(code)"
    )
    for name in ("a.tflite", "b.tflite"):
        command = [sys.executable, "-c", program, "metadata", "plain.tflite", "-o", name, "--labels", "labels.txt", "--name", "n"]
        subprocess.run(command, check=True, cwd=files, timeout=60)
    assert (files / "a.tflite").read_bytes() == (files / "b.tflite").read_bytes()


def test_a_picture_model_gets_its_normalization(
    shared_model: Callable[[str], Path], workspace: Workspace, command: Command
) -> None:
    plain = shared_model("tflite/mobilenet_v1_0.25_224_1_default_1.tflite")
    assert command("metadata", str(plain), "-o", "o.tflite", "--mean", "127.5", "--std", "127.5")[0] == 0
    (image,) = read((workspace.folder / "o.tflite").read_bytes()).inputs
    theirs = read(shared_model("tflite/mobilenet_v1_0.25_224_1_metadata_1.tflite").read_bytes()).inputs[0]
    assert (image.color, image.mean, image.std, image.min, image.max) == (
        theirs.color, theirs.mean, theirs.std, theirs.min, theirs.max,
    )  # fmt: skip
    code, out, _ = command("metadata", str(plain), "-o", "p.tflite")
    assert code == 0
    assert "a float32 image without --mean and --std is refused by ML Kit" in out
    for stated in (("--mean", "1,2"), ("--mean", "1"), ("--std", "0", "--mean", "0"), ("--std", "1,2,3,4", "--mean", "1")):
        assert command("metadata", str(plain), "-o", "q.tflite", *stated)[0] == 2


# The recipe ---------------------------------------------------------------------------------------------------------------


def mine(workspace: Workspace, **changes: Any) -> Path:
    folder = workspace.copy("mnist", "mine")
    workspace.edit("mine", {"name": "mine", **changes})
    (folder / "classes.csv").write_text("".join(["id,en,de\n", *(f"{n},digit {n},{name}\n" for n, name in enumerate(GERMAN))]))
    (folder / "de.txt").write_text("\n".join(GERMAN), encoding="utf-8")
    (folder / "c.csv").write_text("\n".join(["1,10,-5"] * 10))
    return folder


def shipped(workspace: Workspace, *overrides: str) -> Any:
    report = workspace.build("recipe=mine", *overrides)
    assert report.bundle is not None, report.error
    return report.bundle


def test_labels_threshold_and_calibration_are_in_the_shipped_file(warm_workspace: Workspace) -> None:
    metadata = {"score_threshold": 0.5, "score_calibration": {"path": "c.csv", "default_score": 0.25}}
    labels = {"path": "classes.csv", "column": "en", "locales": {"de": "de"}}
    mine(warm_workspace, labels=labels, metadata=metadata)
    bundle = shipped(warm_workspace)
    (scores,) = read((bundle / "mine.tflite").read_bytes()).outputs
    assert scores.labels == tuple(f"digit {digit}" for digit in range(10))
    assert scores.locales == {"de": GERMAN}
    assert scores.score_threshold == 0.5
    assert scores.score_calibration == ScoreCalibration(((1.0, 10.0, -5.0),) * 10, ScoreTransformation.IDENTITY, 0.25)
    assert (bundle / "labels.txt").read_text().splitlines() == list(scores.labels)
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    assert manifest["app"]["accuracy"] == 0.995
    assert {"classes.csv", "c.csv"} <= {entry["path"] for entry in manifest["inputs"]}
    warm_workspace.edit("mine", {"metadata.score_threshold": 0.75})
    ran = warm_workspace.ran(warm_workspace.build("recipe=mine"))
    assert {"describe", "package"} <= ran <= {"describe", "app", "package", "readme"}


def test_languages_may_have_files_of_their_own(warm_workspace: Workspace) -> None:
    mine(warm_workspace, labels={"path": "labels.txt", "locales": {"de": "de.txt"}})
    (scores,) = read((shipped(warm_workspace) / "mine.tflite").read_bytes()).outputs
    assert (scores.labels, scores.locales) == (tuple("0123456789"), {"de": GERMAN})


def test_the_folders_of_a_dataset_are_its_labels(warm_workspace: Workspace) -> None:
    dataset = {"kind": "image_folder", "path": "images", "input": "image", "label": "folder"}
    folder = mine(warm_workspace, labels={"from_dataset": True}, dataset=dataset, validation={"metrics": ["top1"]})
    with np.load(folder / "data" / "mnist_test.npz") as archive:
        images, labels = archive["images"][:100].reshape(-1, 28, 28), archive["labels"][:100]
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "images" / f"{label} {GERMAN[label]}" / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    bundle = shipped(warm_workspace)
    (scores,) = read((bundle / "mine.tflite").read_bytes()).outputs
    assert scores.labels == tuple(f"{digit} {name}" for digit, name in enumerate(GERMAN))
    assert json.loads((bundle / "manifest.json").read_bytes())["app"]["accuracy"] > 0.95


def test_labels_that_repeat_are_warned_of_and_built(warm_workspace: Workspace, command: Command) -> None:
    folder = mine(warm_workspace)
    (folder / "labels.txt").write_text("0\n1\n2\n3\n4\n5\n6\n7\n0\n9\n")
    code, out, err = command("recipe=mine", "ui=plain")
    assert code == 0, err
    assert "labels: '0' names the classes of lines 1, 9; an app cannot tell them apart" in out + err
    assert "label-" not in out + err  # told once, with the lines


def test_a_calibration_that_changes_the_labels_is_not_published(warm_workspace: Workspace) -> None:
    folder = mine(warm_workspace, metadata={"score_calibration": {"path": "c.csv"}})
    (folder / "c.csv").write_text("\n".join(["1,10,-5"] * 9 + ["1,0,10"]))
    report = warm_workspace.build("recipe=mine")
    assert report.exit_code == 3
    assert "with the scores as the model gives them, not calibrated, it is" in str(report.error)
    assert "metadata.score_calibration changes which class is best" in str(report.error)


WRONG = [
    ({"labels": {"path": ""}}, "labels: expected a path, found an empty text"),
    ({"labels": {}}, "labels: expected a path or from_dataset: true, found neither"),
    ({"labels": {"path": "a", "from_dataset": True}}, "labels: expected a path or from_dataset: true, found both"),
    ({"labels": {"from_dataset": True}}, "labels.from_dataset: the dataset of kind npz names no classes"),
    ({"labels": {"from_dataset": True}, "dataset": None}, "labels.from_dataset: the recipe has no dataset"),
    ({"labels": {"from_dataset": True, "column": "a"}}, "labels.column: expected a CSV file as labels.path, found none"),
    ({"labels": {"path": "a", "column": "b", "delimiter": ";;"}}, "labels.delimiter: expected one character, found ';;'"),
    ({"labels": {"path": "a", "locales": {"../x": "b"}}}, "labels.locales.../x: expected a language, found '../x'"),
    ({"labels": {"path": "a", "locales": {"de": ""}}}, "labels.locales.de: expected a path, found an empty text"),
    ({"labels": {"pth": "a"}}, "labels.pth: unknown field"),
    ({"labels": 7}, "labels: expected a mapping, found 7"),
    ({"labels": ["cat", "dog"]}, "labels: expected a mapping, found ['cat', 'dog']"),
    ({"metadata": {"score_threshold": 1.5}}, "metadata.score_threshold: expected a score between 0 and 1, found 1.5"),
    ({"metadata": {"score_threshold": "high"}}, "metadata.score_threshold: expected a number, found 'high'"),
    (
        {"metadata": {"score_calibration": {"path": "c", "transformation": "logg"}}},
        "score_calibration.transformation: expected one",
    ),
    ({"metadata": {"score_calibration": {"transformation": "log"}}}, "metadata.score_calibration.path: missing"),
    (
        {"metadata": {"score_calibration": {"path": "c", "default_score": 1e300}}},
        "metadata.score_calibration.default_score: expected a finite number that float32 can hold",
    ),
    (
        {"metadata": {"score_calibration": {"path": "c"}}, "labels": None},
        "metadata.score_calibration: expected labels, found none",
    ),
]


@pytest.mark.parametrize(("changes", "words"), WRONG)
def test_what_labels_and_metadata_cannot_be_is_named(workspace: Workspace, changes: dict[str, Any], words: str) -> None:
    mine(workspace, **changes)
    with pytest.raises(ConfigError) as caught:
        workspace.compose("recipe=mine")
    assert words in caught.value.message
    assert str(workspace.folder / "recipes" / "mine" / "recipe.yaml") in caught.value.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": {"path": "classes.csv", "column": "fr"}}, "labels.column: no column 'fr'"),
        ({"labels": {"path": "labels.txt", "locales": {"de": "none.txt"}}}, "labels.locales.de: expected a file at "),
        ({"metadata": {"score_calibration": {"path": "none.csv"}}}, "metadata.score_calibration.path: expected a file at "),
        ({"metadata": {"score_calibration": {"path": "labels.txt"}}}, "line 1: Expected 3 or 4 parameters per line"),
    ],
)
def test_files_that_are_not_what_the_recipe_says_are_named(
    warm_workspace: Workspace, changes: dict[str, Any], words: str
) -> None:
    mine(warm_workspace, **changes)
    report = warm_workspace.build("recipe=mine")
    assert report.exit_code == 2
    assert words in str(report.error)


def test_built_in_recipes_state_labels_for_each_of_their_classes() -> None:
    for recipe, count in (("mnist", 10), ("flags", 193)):
        assert len((builtin("recipes") / recipe / "labels.txt").read_text(encoding="utf-8").splitlines()) == count
