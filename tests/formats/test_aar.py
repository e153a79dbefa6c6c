"""The Android archive and its Maven repository, as the formats' own tools and specifications want them."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mlkit_build.formats.escaping import one_line
from mlkit_build.recipe import Android
from mlkit_build.recipe.naming import android_names
from tests.formats.made import HOSTILE, MODEL, a_recipe, written

PLACE = "mlkit/models/mnist-float32/1.2.3/mnist-float32-1.2.3"
POM = "{http://maven.apache.org/POM/4.0.0}"
MAVEN = Path("/usr/share/maven/lib")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return written("aar", a_recipe(), tmp_path)


def test_the_archive_has_what_the_format_demands_and_nothing_is_compressed(repository: Path) -> None:
    with zipfile.ZipFile(repository / f"{PLACE}.aar") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "AndroidManifest.xml",
            "classes.jar",
            "R.txt",
            "META-INF/com/android/build/gradle/aar-metadata.properties",
            "assets/mnist/mnist.tflite",
            "assets/mnist/labels.txt",
            "META-INF/mlkit-build/packing_list.json",
        ]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        # Java's ZipInputStream takes no stored entry whose size stands behind it (flag 8).
        assert {entry.flag_bits & 8 for entry in archive.infolist()} == {0}
        assert archive.read("assets/mnist/mnist.tflite") == MODEL
        assert archive.read("assets/mnist/labels.txt") == b"a\nb\nc\n"
        assert archive.read("R.txt") == b""
        manifest = ElementTree.fromstring(archive.read("AndroidManifest.xml"))
        assert (manifest.tag, manifest.attrib) == ("manifest", {"package": "mlkit.models.mnist_float32"})
        sdk = manifest.find("uses-sdk")
        assert sdk is not None
        assert sdk.attrib == {"{http://schemas.android.com/apk/res/android}minSdkVersion": "21"}
        with zipfile.ZipFile(io.BytesIO(archive.read("classes.jar"))) as classes:
            assert classes.namelist() == ["META-INF/MANIFEST.MF"]
        # The four keys that the Android Gradle plugin demands of the file (AarMetadataReader).
        metadata = dict(line.split("=") for line in archive.read(archive.namelist()[3]).decode().splitlines())
        assert metadata == {
            "aarFormatVersion": "1.0",
            "aarMetadataVersion": "1.0",
            "minCompileSdk": "1",
            "minAndroidGradlePluginVersion": "1.0.0",
        }


def test_the_archive_states_every_other_entry_of_its_own(repository: Path) -> None:
    with zipfile.ZipFile(repository / f"{PLACE}.aar") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    stated = json.loads(contents.pop("META-INF/mlkit-build/packing_list.json"))
    assert stated == {
        "schema": "mlkit-build/packing-list/v1",
        "name": "mnist",
        "version": "1.2.3",
        "variant": "float32",
        "model": "assets/mnist/mnist.tflite",
        "files": [
            {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
            for name, data in sorted(contents.items())
        ],
    }


def test_every_file_has_its_four_checksums(repository: Path) -> None:
    sums = [path for path in repository.rglob("*") if path.suffix in (".md5", ".sha1", ".sha256", ".sha512")]
    plain = {path for path in repository.rglob("*") if path.is_file()} - set(sums)
    assert len(sums) == 4 * len(plain) == 16
    for path in sums:
        assert path.read_text() == hashlib.new(path.suffix[1:], path.with_suffix("").read_bytes()).hexdigest()


def test_the_module_metadata_is_what_gradles_specification_says(repository: Path) -> None:
    """Against the members that the specification of format 1.1 knows; Gradle refuses others."""
    archive = repository / f"{PLACE}.aar"
    module = json.loads((repository / f"{PLACE}.module").read_bytes())
    assert set(module) <= {"formatVersion", "component", "createdBy", "variants"}
    assert module["formatVersion"] == "1.1"
    assert module["component"] == {
        "group": "mlkit.models",
        "module": "mnist-float32",
        "version": "1.2.3",
        "attributes": {"org.gradle.status": "release"},
    }
    assert len({variant["name"] for variant in module["variants"]}) == 2
    for variant, usage in zip(module["variants"], ("java-api", "java-runtime"), strict=True):
        assert set(variant) <= {
            "name",
            "attributes",
            "available-at",
            "dependencies",
            "dependencyConstraints",
            "files",
            "capabilities",
        }
        assert variant["attributes"] == {
            "org.gradle.category": "library",
            "org.gradle.dependency.bundling": "external",
            "org.gradle.libraryelements": "aar",
            "org.gradle.usage": usage,
        }
        (file,) = variant["files"]
        assert (file["name"], file["url"], file["size"]) == (archive.name, archive.name, archive.stat().st_size)
        for name in ("md5", "sha1", "sha256", "sha512"):
            assert file[name] == hashlib.new(name, archive.read_bytes()).hexdigest()
    assert "do_not_remove: published-with-gradle-metadata" in (repository / f"{PLACE}.pom").read_text()


def test_the_list_of_versions_states_no_time(repository: Path) -> None:
    listed = ElementTree.parse(repository / "mlkit/models/mnist-float32/maven-metadata.xml").getroot()
    assert [element.text for element in listed.iter("version")] == ["1.2.3"]
    assert listed.find(".//lastUpdated") is None


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_texts_in_the_pom(tmp_path: Path, text: str) -> None:
    repository = written("aar", a_recipe(description=text, author=text, license=text), tmp_path)
    pom = ElementTree.parse(repository / f"{PLACE}.pom").getroot()
    told = [pom.findtext(f".//{POM}{name}") for name in ("description", "license/" + POM + "name", "developer/" + POM + "name")]
    shown = {one_line(found or "", 10**6) for found in told}
    assert shown == {one_line(text.replace("\0", "\ufffd").replace("\x1b", "\ufffd"), 10**6)}
    assert [child.tag.removeprefix(POM) for child in pom] == [
        "modelVersion",
        "groupId",
        "artifactId",
        "version",
        "packaging",
        "name",
        "description",
        "licenses",
        "developers",
    ]


def test_labels_of_any_kind_are_the_bundles_bytes(tmp_path: Path) -> None:
    labels = ["a/b", "../../etc/passwd", "\U0001f984", "x" * 65536, "</manifest>"]
    repository = written("aar", a_recipe(), tmp_path, labels)
    with zipfile.ZipFile(repository / f"{PLACE}.aar") as archive:
        assert archive.read("assets/mnist/labels.txt").decode().splitlines() == labels


def resolved(repository: Path, local: Path, coordinates: str) -> subprocess.CompletedProcess[str]:
    if not MAVEN.is_dir() or shutil.which("java") is None:
        pytest.skip("Debian's maven is not here")
    program = Path(__file__).with_name("Resolve.java")
    command = ["java", "-cp", f"{MAVEN}/*", str(program), repository.as_uri(), str(local), coordinates]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_maven_resolves_it_and_reads_every_element(tmp_path: Path) -> None:
    """By Maven's own resolver, failing at a wrong checksum, and its own strict reader of POMs, which takes no unknown element."""
    android = Android(group="com.example.models", artifact="digits", version="2.0-rc1")
    repository = written("aar", a_recipe(android=android, description="<b> & ]]> ß"), tmp_path / "a")
    run = resolved(repository, tmp_path / "local", "com.example.models:digits:aar:2.0-rc1")
    assert run.returncode == 0, run.stderr
    file, versions, packaging, description = run.stdout.splitlines()
    assert Path(file).read_bytes() == (repository / "com/example/models/digits/2.0-rc1/digits-2.0-rc1.aar").read_bytes()
    assert (versions, packaging, description) == ("[2.0-rc1]", "aar", "<b> & ]]> ß")


def test_maven_refuses_an_archive_that_its_checksum_does_not_fit(tmp_path: Path) -> None:
    """So that the test above could fail."""
    repository = written("aar", a_recipe(), tmp_path / "a")
    with (repository / f"{PLACE}.aar").open("ab") as file:
        file.write(b"x")
    run = resolved(repository, tmp_path / "local", "mlkit.models:mnist-float32:aar:1.2.3")
    assert run.returncode != 0
    assert "ChecksumFailure" in run.stderr


def test_gradle_resolves_it(repository: Path, tmp_path: Path) -> None:
    """An old Gradle reads the POM; only from 5.3 on does it read the module metadata."""
    if shutil.which("gradle") is None:
        pytest.skip("gradle is not here")
    project = tmp_path / "app"
    project.mkdir()
    (project / "settings.gradle").touch()
    (project / "build.gradle").write_text(
        f"repositories {{ maven {{ url '{repository}' }} }}\n"
        "configurations { pack }\n"
        "dependencies { pack 'mlkit.models:mnist-float32:1.2.3' }\n"
        "task resolve { doLast { configurations.pack.files.each { println 'found ' + it } } }\n"
    )
    command = ["gradle", "--offline", "--no-daemon", "--quiet", f"--gradle-user-home={tmp_path / 'home'}", "resolve"]
    run = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert f"found {repository / PLACE}.aar" in run.stdout


@pytest.mark.parametrize("name", ["mnist", "7-segment", "int", "x" * 60 + ".y"])
def test_androids_own_tool_takes_manifest_and_assets(tmp_path: Path, name: str) -> None:
    """By aapt2 of Android 10, which puts the manifest and the assets of an archive into an app."""
    framework = Path("/usr/share/android-framework-res/framework-res.apk")
    if shutil.which("aapt2") is None or not framework.is_file():
        pytest.skip("Debian's aapt and android-framework-res are not here")
    (archive,) = written("aar", a_recipe(name), tmp_path).rglob("*.aar")
    with zipfile.ZipFile(archive) as entries:
        entries.extractall(tmp_path / "aar")
    app, given = tmp_path / "app.apk", tmp_path / "aar"
    command = ["aapt2", "link", "--manifest", given / "AndroidManifest.xml", "-A", given / "assets", "-I", framework, "-o", app]
    run = subprocess.run([*map(str, command), "-0", ".tflite"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    model = f"assets/{name}/{name.replace('.', '_')}.tflite"
    with zipfile.ZipFile(app) as entries:
        assert entries.read(model) == MODEL
        assert entries.getinfo(model).compress_type == zipfile.ZIP_STORED, "as noCompress says"
        assert entries.read(f"assets/{name}/labels.txt") == b"a\nb\nc\n"
    told = subprocess.run(["aapt2", "dump", "badging", str(app)], capture_output=True, text=True, timeout=60).stdout
    assert f"package: name='{android_names(a_recipe(name)).namespace}'" in told
    assert "sdkVersion:'21'" in told
    assert "permission" not in told
