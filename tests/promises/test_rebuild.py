"""`mlkit-build rebuild`: a manifest gives its bundle again, elsewhere; what stands in the way is named; nothing is trusted."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.engine.toolchain import toolchain
from mlkit_build.reproduction.rebuild import without_folder
from tests.conftest import Workspace
from tests.promises.conftest import Command, snapshot

MODEL = """
import pathlib
import tensorflow as tf

def build():
    pathlib.Path({mark!r}).touch()
    return tf.function(lambda x: x * 2.0, input_signature=[tf.TensorSpec([1, 4], tf.float32, "x")])

def other():
    return build()
"""


@pytest.fixture
def manifest(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The manifest of a recipe of the user, alone in a new current folder, with a new cache and no temporary files."""
    workspace.copy("add_one", "mine")
    workspace.edit("mine", {"name": "mine"})
    return moved(workspace, "mine/float32", monkeypatch, tmp_path)


def moved(workspace: Workspace, bundle: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    report = workspace.build(f"recipe={bundle.partition('/')[0]}")
    assert report.exit_code == 0, report.error
    elsewhere, temporary = tmp_path / "elsewhere", tmp_path / "tmp"
    elsewhere.mkdir()
    temporary.mkdir()
    shutil.copyfile(workspace.folder / "dist" / bundle / "manifest.json", elsewhere / "manifest.json")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("MLKIT_BUILD_CACHE", str(tmp_path / "another cache"))
    return elsewhere / "manifest.json"


def edit(manifest: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(manifest.read_bytes())
    change(content)
    manifest.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def test_the_bundle_comes_again_elsewhere_from_files_of_other_names(
    workspace: Workspace, manifest: Path, command: Command, tmp_path: Path
) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for index, path in enumerate(sorted((workspace.folder / "recipes/mine").rglob("*.*"))):
        if path.is_file() and path.name != "recipe.yaml":
            shutil.copyfile(path, inputs / f"file {index}")
    code, out, err = command("rebuild", "manifest.json", "--inputs", str(inputs), "--to", "again")
    assert code == 0, err
    assert out.startswith("mine/float32: equal: 4 files and the manifest are the same bytes, as it states them\n")
    again, before = Path("again/dist/mine/float32"), workspace.folder / "dist/mine/float32"
    for name in ("mine.tflite", "README.md", "report.html", "manifest.json"):
        assert (again / name).read_bytes() == (before / name).read_bytes()
    assert not (tmp_path / "another cache").exists()


def test_what_lies_in_another_recipe_of_the_search_path_is_found_there(
    workspace: Workspace, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine, other = workspace.copy("add_one", "mine"), workspace.copy("add_one", "other")
    workspace.edit("mine", {"name": "mine", "source.path": "../other/model/renamed.pb"})
    (mine / "model/graph.pb").unlink()
    graph = (other / "model/graph.pb").rename(other / "model/renamed.pb")
    manifest = moved(workspace, "mine/float32", monkeypatch, tmp_path)
    assert "../other/model/renamed.pb" in [item["path"] for item in json.loads(manifest.read_bytes())["inputs"]]
    monkeypatch.setenv("MLKIT_BUILD_PATH", str(workspace.folder))
    code, out, err = command("rebuild", "manifest.json")
    assert code == 0, err
    assert out.startswith("mine/float32: equal: 4 files")
    graph.rename(tmp_path / "renamed.pb")  # which is in no recipe, and one step above
    edit(manifest, lambda content: next(i for i in content["inputs"] if "other" in i["path"]).update(path="../../../renamed.pb"))
    edit(manifest, lambda content: content["recipe"]["source"].update(path="../../../renamed.pb"))
    code, _, err = command("rebuild", "manifest.json")
    assert code == 2, err
    assert "renamed.pb" in err


def test_an_input_that_is_missing_is_named_with_its_digest(manifest: Path, command: Command, tmp_path: Path) -> None:
    code, _, err = command("rebuild", "manifest.json")
    graph = next(item for item in json.loads(manifest.read_bytes())["inputs"] if item["path"].endswith("graph.pb"))
    assert code == 2
    assert f"model/graph.pb, {graph['size_bytes']} bytes, sha256 {graph['sha256']}" in err
    assert "--inputs DIR" in err
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_differs_is_named_and_kept(workspace: Workspace, manifest: Path, command: Command) -> None:
    def change(content: dict[str, Any]) -> None:
        next(item for item in content["outputs"] if item["path"] == "mine.tflite")["sha256"] = "0" * 64
        content["metrics"]["size_bytes"]["value"] += 1

    edit(manifest, change)
    code, out, _ = command("rebuild", "manifest.json", "--inputs", str(workspace.folder / "recipes/mine"), "--json")
    found = json.loads(out)
    assert (code, found["equal"]) == (4, False)
    assert found["differences"] == ["mine.tflite: other content"]
    assert [line.partition(":")[0] for line in found["manifest"]] == ["metrics.size_bytes.value"]
    assert (Path(found["kept"]) / "mine.tflite").is_file()


def test_a_manifest_that_was_written_again_is_told_from_another_build(
    workspace: Workspace, manifest: Path, command: Command
) -> None:
    manifest.write_text(json.dumps(json.loads(manifest.read_bytes())))
    code, out, _ = command("rebuild", "manifest.json", "--inputs", str(workspace.folder / "recipes/mine"))
    assert code == 4
    assert "  manifest.json: the same values, written in another way\n" in out
    assert "check" not in out


def test_a_message_names_no_folder_that_is_gone() -> None:
    folder = Path("/tmp/rebuild-x")
    message = f"source.path: {folder}/recipe/above/above/mine/graph.pb: no such file below {folder}/recipe, cache {folder}/cache"
    assert without_folder(message, folder) == (
        "source.path: graph.pb: no such file below the folder of the rebuild, cache the folder of the rebuild/cache"
    )


def test_another_toolchain_is_named_and_no_difference_by_itself(workspace: Workspace, manifest: Path, command: Command) -> None:
    edit(manifest, lambda content: content["toolchain"].update(tensorflow="2.20.9"))
    code, out, err = command("rebuild", ".", "--inputs", str(workspace.folder / "recipes/mine"))
    assert code == 0, err
    assert out.startswith("mine/float32: equal, though made with other tools")
    assert "  another toolchain: tensorflow: 2.20.9 -> " in out
    assert err.startswith("rebuild: another toolchain than the manifest's: tensorflow: 2.20.9 -> ")


def test_a_bundle_that_another_python_made_is_equal_but_for_what_says_so(
    workspace: Workspace, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def of_another_python(runtime: str, packages: tuple[str, ...] = ()) -> dict[str, str]:
        return {**toolchain(runtime, packages), "python": "3.99"}

    workspace.copy("add_one", "mine")
    workspace.edit("mine", {"name": "mine"})
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("mlkit_build.engine.run.toolchain", of_another_python)
        elsewhere.setattr("mlkit_build.engine.toolchain.toolchain", of_another_python)
        manifest = moved(workspace, "mine/float32", monkeypatch, tmp_path)
    here = toolchain("python")["python"]
    stated = json.loads(manifest.read_bytes())
    assert stated["toolchain"]["python"] == "3.99"
    inputs = ("--inputs", str(workspace.folder / "recipes/mine"))
    code, out, err = command("rebuild", "manifest.json", *inputs, "--to", "again")
    assert code == 0, err
    assert out.startswith(
        "mine/float32: equal, though made with other tools: 3 files are the same bytes, and sbom.cdx.json but for the tools "
        f"that it lists\n  another toolchain: python: 3.99 -> {here}\n"
    )
    made = json.loads(Path("again/dist/mine/float32/manifest.json").read_bytes())
    assert made["toolchain"]["python"] == here
    assert made["actions"] != stated["actions"]
    stated["metrics"]["size_bytes"]["value"] += 1  # which the bill states too, and here it is not what the manifest says
    bill = next(item for item in stated["outputs"] if item["path"] == "sbom.cdx.json")
    bill["sha256"] = "0" * 64
    manifest.write_text(json.dumps(stated))
    code, out, _ = command("rebuild", "manifest.json", *inputs, "--json")
    found = json.loads(out)
    assert (code, found["differences"], found["other_tools"]) == (4, ["sbom.cdx.json: other content"], [])


HOSTILE: Mapping[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "absolute path": (lambda m: m["recipe"]["source"].update(path="/etc/passwd"), "recipe.source.path: expected a path below"),
    "home": (lambda m: m["recipe"]["dataset"].update(path="~/x.npz"), "recipe.dataset.path: expected a path below"),
    "local URL": (lambda m: m["recipe"]["source"].update(path="file:///etc/passwd"), "recipe.source.path: expected a path below"),
    "far up": (
        lambda m: m["recipe"]["source"].update(path="../" * 40 + "etc/passwd"),
        "recipe.source.path: expected a path near",
    ),
    "input outside": (lambda m: m["inputs"][0].update(path="/etc/passwd"), "inputs[0]: expected a file near"),
    "name": (lambda m: (m.update(name="../x"), m["recipe"].update(name="../x")), "name: expected letters"),
    "variant": (lambda m: m.update(variant="../../x"), "variant: expected 'float32'"),
    "unknown field": (lambda m: m["recipe"].update(_target_="os.system"), "recipe._target_: unknown field"),
    "URL without digest": (lambda m: m["recipe"]["source"].update(path="https://example.invalid/x.pb"), "source.sha256: missing"),
    "an input fewer": (lambda m: m["inputs"].pop(), "dataset.path: expected a file at data/samples.npz, found nothing"),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_manifest_that_was_made_up_is_refused_and_nothing_is_written(
    workspace: Workspace, manifest: Path, command: Command, tmp_path: Path, how: str
) -> None:
    change, message = HOSTILE[how]
    edit(manifest, change)
    before = snapshot(tmp_path)
    code, _, err = command("rebuild", "manifest.json", "--inputs", str(workspace.folder / "recipes/mine"))
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert snapshot(tmp_path) == before
    assert list((tmp_path / "tmp").iterdir()) == []


def python_manifest(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, Path]:
    """Return the manifest of a recipe that runs code, and the file that tells that it ran."""
    ran = tmp_path / "ran"
    folder = workspace.write("made", {"version": "1.0.0", "source": {"kind": "python", "function": "model.py:build"}})
    (folder / "model.py").write_text(MODEL.format(mark=str(ran)))
    manifest = moved(workspace, "made/float32", monkeypatch, tmp_path)
    ran.unlink()
    return manifest, ran


def test_code_is_run_from_a_recipe_folder_alone(
    workspace: Workspace, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, ran = python_manifest(workspace, monkeypatch, tmp_path)
    folder = workspace.folder / "recipes/made"
    code, _, err = command("rebuild", "manifest.json")
    assert (code, "model.py" in err, ran.exists()) == (2, True, False)
    (tmp_path / "loose").mkdir()
    shutil.copyfile(folder / "model.py", tmp_path / "loose" / "model.py")
    code, _, err = command("rebuild", "manifest.json", "--inputs", str(tmp_path / "loose"))
    assert (code, "model.py" in err, ran.exists()) == (2, True, False)
    code, out, err = command("rebuild", "manifest.json", "--root", str(workspace.folder))
    assert (code, ran.exists()) == (0, True), err
    assert out.startswith("made/float32: equal: ")


def test_a_manifest_cannot_choose_what_is_run(
    workspace: Workspace, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manifest, ran = python_manifest(workspace, monkeypatch, tmp_path)
    edit(manifest, lambda content: content["recipe"]["source"].update(function="model.py:other"))
    code, _, err = command("rebuild", "manifest.json", "--root", str(workspace.folder))
    assert (code, ran.exists()) == (2, False)
    assert "it runs model.py:other, which no recipe folder here says that it runs" in err


def test_code_that_changed_is_not_run(
    workspace: Workspace, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, ran = python_manifest(workspace, monkeypatch, tmp_path)
    with (workspace.folder / "recipes/made/model.py").open("a") as file:
        file.write("# changed\n")
    code, _, err = command("rebuild", "manifest.json", "--root", str(workspace.folder))
    assert (code, "model.py" in err, ran.exists()) == (2, True, False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected JSON"),
        (b"[" * 100_000, ""),
        (b'{"schema": "other"}', "expected the schema"),
        (b'{"a": 1, "a": 2}', "twice"),
    ],
)
def test_what_is_no_manifest_is_refused(workspace: Workspace, command: Command, content: bytes, message: str) -> None:
    Path("manifest.json").write_bytes(content)
    code, _, err = command("rebuild", "manifest.json")
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_a_model_beside_the_recipes_folder_is_verified_and_built_again(
    workspace: Workspace, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = workspace.copy("add_one", "mine")
    workspace.edit("mine", {"name": "mine", "source.path": "../../shared/graph.pb"})
    (workspace.folder / "shared").mkdir()
    (folder / "model/graph.pb").rename(workspace.folder / "shared/graph.pb")
    manifest = moved(workspace, "mine/float32", monkeypatch, tmp_path)
    assert command("verify", str(workspace.folder / "dist/mine/float32"))[0] == 0
    code, out, err = command("rebuild", str(manifest), "--inputs", str(workspace.folder))
    assert code == 0, err
    assert out.startswith("mine/float32: equal: ")
    # The user's own recipe leads there too; what it does not say is not followed, though the manifest does.
    code, _, err = command("rebuild", str(manifest), "--root", str(workspace.folder))
    assert code == 0, err
    workspace.edit("mine", {"source.path": "model/graph.pb"})
    code, _, err = command("rebuild", str(manifest), "--root", str(workspace.folder))
    assert (code, "../../shared/graph.pb" in err) == (2, True)


def test_inputs_from_elsewhere_are_told_apart_and_found_again(
    workspace: Workspace, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inputs = tmp_path / "inputs"
    for index, name in enumerate(("test", "train")):
        (inputs / name / "set").mkdir(parents=True)
        np.save(inputs / name / "set/x.npy", np.arange(8, dtype=np.float32) + index / 2)
    folder = workspace.copy("add_one", "mine")
    (folder / "model/graph.pb").rename(inputs / "graph.pb")
    sets = {
        role: {"kind": "npy", "path": str(inputs / name / "set"), "features": {"x": "x.npy"}}
        for role, name in (("dataset", "test"), ("calibration", "train"))
    }
    workspace.edit("mine", {"name": "mine", "source.path": str(inputs / "graph.pb"), "validation": {}, **sets})
    workspace.edit("mine", {"quantization": {"mode": "int8"}})
    manifest = moved(workspace, "mine/int8", monkeypatch, tmp_path)
    content = json.loads(manifest.read_bytes())
    assert [item["path"] for item in content["inputs"]] == ["graph.pb", "dataset/set/x.npy", "calibration/set/x.npy"]
    assert str(tmp_path) not in manifest.read_text()
    bill = json.loads((workspace.folder / "dist/mine/int8/sbom.cdx.json").read_bytes())
    samples = [part for part in bill["components"] if part["type"] == "data"]
    assert [(part["name"], part["data"][0]["name"]) for part in samples] == [
        ("dataset/set/x.npy", "dataset"),
        ("calibration/set/x.npy", "calibration"),
    ]
    code, out, err = command("rebuild", "manifest.json", "--inputs", str(inputs))
    assert code == 0, err
    assert out.startswith("mine/int8: equal: ")


def python_with_data(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stated: str, data: Path
) -> tuple[Path, Path]:
    """Return the manifest of a recipe that runs code and has its data elsewhere, and what exists once the code has run."""
    ran = tmp_path / "ran"
    dataset = {"kind": "npy", "path": stated, "features": {"x": "x.npy"}}
    folder = workspace.write(
        "made", {"version": "1.0.0", "source": {"kind": "python", "function": "model.py:build"}, "dataset": dataset}
    )
    (folder / "model.py").write_text("import colorsys\n" + MODEL.format(mark=str(ran)))
    data.mkdir(parents=True)
    np.save(data / "x.npy", np.arange(8, dtype=np.float32).reshape(2, 4))
    manifest = moved(workspace, "made/float32", monkeypatch, tmp_path)
    ran.unlink()
    return manifest, ran


def test_data_outside_of_a_recipe_with_code_is_found_where_its_own_recipe_states_it(
    workspace: Workspace, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = workspace.folder / "data/test"
    _, ran = python_with_data(workspace, monkeypatch, tmp_path, "../../data/test", data)
    code, out, err = command("rebuild", "manifest.json", "--root", str(workspace.folder))
    assert code == 0, err
    assert (out.startswith("made/float32: equal: "), ran.exists()) == (True, True)
    ran.unlink()
    folder = shutil.move(workspace.folder / "recipes/made", tmp_path / "checkout")
    code, _, err = command("rebuild", "manifest.json", "--inputs", str(folder))
    assert (code, "../../data/test/x.npy" in err, "recipe.yaml" in err, ran.exists()) == (2, True, True, False)
    code, out, err = command("rebuild", "manifest.json", "--inputs", str(folder), "--inputs", str(workspace.folder))
    assert code == 0, err
    assert out.startswith("made/float32: equal: ")


def test_no_manifest_brings_code_as_data(
    workspace: Workspace, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = tmp_path / "sets/colorsys"  # also the name of a module that the code imports
    manifest, ran = python_with_data(workspace, monkeypatch, tmp_path, str(data), data)
    code, _, err = command("rebuild", "manifest.json", "--root", str(workspace.folder))
    assert code == 0, err
    ran.unlink()
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    evil = f"import pathlib\npathlib.Path({str(tmp_path / 'evil')!r}).touch()\n".encode()
    (downloads / "harmless.txt").write_bytes(evil)

    def change(content: dict[str, Any]) -> None:
        content["recipe"]["dataset"]["features"] = {"x": "__init__.py"}
        item = next(item for item in content["inputs"] if item["path"] == "colorsys/x.npy")
        item.update(path="colorsys/__init__.py", sha256=hashlib.sha256(evil).hexdigest(), size_bytes=len(evil))

    edit(manifest, change)
    code, _, err = command("rebuild", "manifest.json", "--root", str(workspace.folder), "--inputs", str(downloads))
    assert (code, "code would read colorsys/__init__.py" in err) == (2, True)
    assert not ran.exists()
    assert not (tmp_path / "evil").exists()


def test_a_damaged_bundle_is_not_equal(workspace: Workspace, manifest: Path, command: Command, tmp_path: Path) -> None:
    bundle, inputs = tmp_path / "bundle", ("--inputs", str(workspace.folder / "recipes/mine"))
    shutil.copytree(workspace.folder / "dist/mine/float32", bundle)
    code, out, err = command("rebuild", str(bundle), *inputs)
    assert code == 0, err
    assert out == "mine/float32: equal: 4 files and the manifest are the same bytes\n"
    (bundle / "report.html").unlink()
    with (bundle / "README.md").open("a") as file:
        file.write("\n")
    code, out, _ = command("rebuild", str(bundle), *inputs)
    assert code == 4
    assert out.startswith("mine/float32: not what its manifest says")
    assert "\n  README.md: " in out
    assert "\n  report.html: " in out
    code, out, _ = command("rebuild", str(bundle), *inputs, "--json")
    found = json.loads(out)
    assert (code, found["equal"], len(found["differences"])) == (4, False, 2)
    assert command("rebuild", str(bundle / "manifest.json"), *inputs)[0] == 0


def test_a_folder_above_bundles_names_them(workspace: Workspace, manifest: Path, command: Command, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(workspace.folder / "dist", again / "dist")
    for arguments in (["verify", again], ["rebuild", again], ["diff", again / "dist/mine/float32", again]):
        code, _, err = command(*map(str, arguments))
        assert code == 2
        assert "found a folder without manifest.json" in err
        assert f"did you mean {again}/dist/mine/float32?" in err
