"""What the README promises of formats: made of the same model, covered by the same checksums, the same bytes anywhere."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from mlkit_build.job import JobReport
from tests.conftest import Workspace
from tests.formats.made import files
from tests.promises.conftest import Command

pytestmark = pytest.mark.usefixtures("warm_workspace")  # the builds here are the same ones over and over

ALL = "package.formats=[aar,aipack,ios,zip,tar]"
VARYING = {"provenance.json", "SHA256SUMS"}


def bundle_of(report: JobReport) -> Path:
    assert report.exit_code == 0, report.error
    assert report.bundle is not None
    return report.bundle


def assert_sums_hold(folder: Path) -> None:
    run = subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "")
    stated = {line.partition("  ")[2] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert stated == {*files(folder)} - {"SHA256SUMS"}


def test_one_build_makes_every_format_of_the_same_model(warm_workspace: Workspace) -> None:
    bundle = bundle_of(warm_workspace.build("recipe=mnist", ALL))
    model = (bundle / "mnist.tflite").read_bytes()
    assert_sums_hold(bundle)
    with zipfile.ZipFile(bundle / "aar/mlkit/models/mnist-int8/1.0.0/mnist-int8-1.0.0.aar") as archive:
        assert archive.read("assets/mnist/mnist.tflite") == model
        assert archive.read("assets/mnist/labels.txt") == (bundle / "labels.txt").read_bytes()
    assert (bundle / "aipack/mnist/src/main/assets/mnist/mnist.tflite").read_bytes() == model
    assert (bundle / "ios/MnistModel/Sources/MnistModel/Resources/mnist.tflite").read_bytes() == model
    with zipfile.ZipFile(bundle / "mnist-int8.zip") as archive, tarfile.open(bundle / "mnist-int8.tar") as tar:
        assert archive.read("mnist-int8/mnist.tflite") == model
        assert archive.namelist() == tar.getnames()
        assert {name.removeprefix("mnist-int8/") for name in archive.namelist()} == {
            *(name for name in files(bundle) if name not in ("provenance.json", "mnist-int8.zip", "mnist-int8.tar"))
        }
    warm_workspace.folder.joinpath("out").mkdir()
    with tarfile.open(bundle / "mnist-int8.tar") as tar:
        tar.extractall(warm_workspace.folder / "out", filter="data")
    assert_sums_hold(warm_workspace.folder / "out/mnist-int8")
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    listed = {entry["path"]: entry["sha256"] for entry in manifest["outputs"]}
    unlisted = {*VARYING, "manifest.json", "mnist-int8.zip", "mnist-int8.tar"}
    assert listed == {name: digest for name, digest in files(bundle).items() if name not in unlisted}
    provenance = json.loads((bundle / "provenance.json").read_bytes())
    assert {entry["name"] for entry in provenance["subject"]} == {*files(bundle)} - VARYING


def test_an_aar_is_verified_alone_and_against_the_manifest_above_it(warm_workspace: Workspace, command: Command) -> None:
    """mnist has labels, and says mean and std."""
    bundle = bundle_of(warm_workspace.build("recipe=mnist", "package.formats=[aar]"))
    (archive,) = bundle.rglob("*.aar")
    code, out, err = command("verify", str(archive))
    assert (code, f"the archive itself, as {(bundle / 'manifest.json').absolute()} says" in out) == (0, True), out + err
    alone = Path(shutil.copy(archive, warm_workspace.folder / "renamed.aar"))
    code, out, _ = command("verify", str(alone), "--json")
    told = json.loads(out)
    assert (code, told["name"], told["variant"], told["compared_with"]) == (0, "mnist", "int8", None)
    assert told["archive_sha256"] == files(alone.parent)["renamed.aar"]
    assert command("verify", str(alone), "--manifest", str(bundle / "manifest.json"))[0] == 0
    with zipfile.ZipFile(alone, "a") as entries:
        entries.comment = b"what no entry says"
    code, out, _ = command("verify", str(alone), "--manifest", str(bundle / "manifest.json"))
    assert (code, "the model in it is that of the bundle" in out) == (4, True)
    code, _, err = command("verify", str(bundle), "--manifest", str(bundle / "manifest.json"))
    assert (code, "a bundle has a manifest of its own" in err) == (2, True)
    code, _, err = command("verify", str(alone), "--manifest", "nothing-here")
    assert (code, "--manifest: nothing-here: cannot be read" in err) == (2, True)


def test_the_bundle_and_its_archives_are_what_they_say_they_are(workspace: Workspace, command: Command) -> None:
    bundle = bundle_of(workspace.build("recipe=add_one", ALL))
    for place in (bundle, bundle / "add_one-float32.zip", bundle / "add_one-float32.tar"):
        assert command("verify", str(place))[0] == 0, place
    for damaged in ("aipack/add_one/build.gradle.kts", "add_one-float32.zip"):
        whole = (bundle / damaged).read_bytes()
        (bundle / damaged).write_bytes(whole[:-1] + b"?")
        code, out, _ = command("verify", str(bundle))
        assert code == 4
        assert damaged in out
        (bundle / damaged).write_bytes(whole)


def test_every_format_has_the_same_bytes_in_another_place_zone_and_mask(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = files(bundle_of(workspace.build("recipe=add_one", ALL)).absolute())
    other = tmp_path / "other" / "deep"
    other.mkdir(parents=True)
    monkeypatch.chdir(other)
    monkeypatch.setenv("MLKIT_BUILD_CACHE", str(tmp_path / "other-cache"))
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    before = os.umask(0o077)
    try:
        report = Workspace(other, tmp_path / "other-cache", workspace.pool).build("recipe=add_one", ALL)
    finally:
        os.umask(before)
        monkeypatch.delenv("TZ")
        time.tzset()
    assert {result.cached for result in report.actions} == {False}
    second = files(bundle_of(report).absolute())
    assert {name for name in first if first[name] != second.get(name)} == VARYING
    assert first.keys() == second.keys()


def test_a_format_is_made_anew_for_what_is_in_it_and_for_nothing_else(warm_workspace: Workspace) -> None:
    bundle_of(warm_workspace.build("recipe=mnist", "package.formats=[aar,ios,zip]"))
    again = warm_workspace.build("recipe=mnist", "package.formats=[aar,ios,zip]")
    assert (again.status, warm_workspace.ran(again)) == ("unchanged", set())
    moved = warm_workspace.build("recipe=mnist", "package.formats=[aar,ios,zip]", "package.android.group=com.example")
    assert warm_workspace.ran(moved) == {"aar", "readme"}
    gated = warm_workspace.build("recipe=mnist", "package.formats=[aar,ios,zip]", "validation.gates.top1.min=0.98")
    assert warm_workspace.ran(gated) == {"package"}
    plain = bundle_of(warm_workspace.build("recipe=mnist"))
    assert {path.name for path in plain.iterdir()} & {"aar", "ios", "mnist-int8.zip"} == set()


@pytest.mark.parametrize("name", ["add_one-float32.zip", "aar/mlkit/models/add_one-float32/maven-metadata.xml", "README.md"])
def test_a_damaged_file_of_any_format_is_put_right(workspace: Workspace, name: str) -> None:
    formats = "package.formats=[aar,zip]"
    bundle = bundle_of(workspace.build("recipe=add_one", formats))
    whole = (bundle / name).read_bytes()
    (bundle / name).write_bytes(whole[:-1] + b"?")
    report = workspace.build("recipe=add_one", formats)
    assert (report.status, workspace.ran(report)) == ("built", set())
    assert (bundle / name).read_bytes() == whole


def test_the_best_of_a_sweep_has_its_formats_too(workspace: Workspace, command: Command) -> None:
    arguments = [
        "-m",
        "recipe=add_one",
        "quantization=float32,float16",
        "select=smallest",
        "package.formats=[aar,zip]",
        "ui=quiet",
    ]
    assert command(*arguments)[0] == 0
    best = workspace.folder / "dist/add_one/best"
    assert_sums_hold(best)
    assert [path.suffix for path in sorted(best.glob("add_one-*"))] == [".zip"]
    assert list((best / "aar").rglob("*.aar"))
    before = best.stat().st_mtime_ns
    assert command(*arguments)[0] == 0
    assert best.stat().st_mtime_ns == before, "what is right stays"


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("package.formats=[apk]", "package.formats[0]: expected one of bundle, aar, aipack, ios, zip, tar, found 'apk'"),
        ("package.android.group=com..x", "package.android.group: expected letters"),
        ("package.android.namespace=com.int.x", "package.android.namespace: 'int' is a keyword of Java"),
        ("package.ios.module=7up", "package.ios.module: expected a Swift identifier"),
        ("package.ios.podspec=true", "package.ios.homepage: expected the address of a page"),
        ("package.android.grp=x", "grp"),
    ],
)
def test_a_name_that_no_app_could_use_is_refused_by_its_field(command: Command, override: str, field: str) -> None:
    code, out, err = command("recipe=add_one", override)
    assert (code, out) == (2, "")
    assert field in err
    assert "Traceback" not in err


def test_the_archive_can_be_read_by_who_streams_it(workspace: Workspace) -> None:
    bundle = bundle_of(workspace.build("recipe=add_one", "package.formats=[tar]"))
    stream = io.BytesIO((bundle / "add_one-float32.tar").read_bytes())
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        assert next(entry.name for entry in tar) == "add_one-float32/README.md"
