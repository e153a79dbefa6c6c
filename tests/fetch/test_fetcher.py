"""A recipe's path, wherever it points, becomes a path here: fetched once, checked always."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.fetch import Fetcher, open_fetcher
from mlkit_build.store import Digest
from tests.fetch.conftest import FIELD, MODEL, Progress, Site, Warnings, answer, files, sha256
from tests.fetch.test_unpack import TREE, tarred, zipped

NOWHERE = Path("/nowhere")


def again(cache: Path) -> Path:
    """Return where the next build finds `/model.pb`, which must not be asked for."""
    with open_fetcher(cache, Warnings(), Progress()) as fetcher:
        return fetcher.local("https://no-such-host.invalid/model.pb", sha256(MODEL), NOWHERE, FIELD)


def test_a_plain_path_is_left_alone_whatever_is_there(fetcher: Fetcher, tmp_path: Path) -> None:
    assert fetcher.local("model/mnist.ckpt", None, tmp_path, FIELD) == tmp_path / "model/mnist.ckpt"
    assert fetcher.local("m.pb", None, Path("recipes"), FIELD) == Path.cwd() / "recipes" / "m.pb"
    assert fetcher.local("/abs/m.pb", None, tmp_path, FIELD) == Path("/abs/m.pb")
    assert fetcher.local("file:///abs/m.pb", None, tmp_path, FIELD) == Path("/abs/m.pb")


def test_a_plain_path_needs_none_of_what_fetches() -> None:
    code = (
        "import sys, pathlib; from mlkit_build.fetch import open_fetcher, shown\n"
        "with open_fetcher(None, print, print) as f: f.local('m.pb', None, pathlib.Path('.'), 'source.path'), shown('https://h/m')\n"
        "print(sorted({'fsspec', 'aiohttp', 'tarfile', 'zipfile', 'filelock', 'asyncio'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_digest_of_a_local_file_is_checked_where_it_is_stated(fetcher: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "m.pb").write_bytes(MODEL)
    assert fetcher.local("m.pb", sha256(MODEL).upper(), tmp_path, FIELD) == tmp_path / "m.pb"
    with pytest.raises(SourceError, match=f"source.path: .*m.pb is not the file that was meant: expected sha256 {'0' * 64}"):
        fetcher.local("m.pb", "0" * 64, tmp_path, FIELD)
    with pytest.raises(SourceError, match=r"expected a file at .*, found a folder") as caught:
        fetcher.local(".", "0" * 64, tmp_path, FIELD)
    assert "leave it out for a folder or a checkpoint" in caught.value.hint


@pytest.mark.parametrize("url", ["https://user:hush@h/m.pb?sig=hush", "zip://a::s3://b/m.zip", "memory://m"])
def test_a_url_without_a_digest_names_the_field_and_what_to_do(fetcher: Fetcher, url: str) -> None:
    with pytest.raises(ConfigError, match=r"dataset.sha256: missing") as caught:
        fetcher.local(url, None, NOWHERE, "dataset.path")
    assert "sha256sum" in caught.value.hint
    assert "hush" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"dataset.sha256: missing"):
        fetcher.known(url, None, NOWHERE, "dataset.path")


@pytest.mark.parametrize("digest", ["", "abc", "g" * 64, "0" * 63, "0" * 65, "../" + "0" * 61])
def test_a_digest_that_is_none_says_so(fetcher: Fetcher, digest: str) -> None:
    with pytest.raises(ConfigError, match=r"source.sha256: expected 64 hexadecimal digits"):
        fetcher.local("https://h/m.pb", digest, NOWHERE, FIELD)


def test_what_was_fetched_is_not_fetched_again(site: Site, fetcher: Fetcher, cache: Path, progress: Progress) -> None:
    url, digest = f"{site.url}/model.pb", sha256(MODEL)
    first = fetcher.local(url, digest, NOWHERE, FIELD)
    progress.clear()
    assert fetcher.local(url, digest, NOWHERE, FIELD) == first
    assert again(cache) == first, "nor from another place"
    assert progress == []
    assert site.asked["/model.pb"] == 1


def test_another_digest_of_the_same_url_is_fetched(site: Site, fetcher: Fetcher) -> None:
    first = fetcher.local(site.serve("/m.pb", b"old"), sha256(b"old"), NOWHERE, FIELD)
    second = fetcher.local(site.serve("/m.pb", b"new"), sha256(b"new"), NOWHERE, FIELD)
    assert (first.read_bytes(), second.read_bytes()) == (b"old", b"new")


def test_a_cached_file_that_was_edited_is_fetched_again(
    site: Site, fetcher: Fetcher, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, digest = f"{site.url}/model.pb", sha256(MODEL)
    path = fetcher.local(url, digest, NOWHERE, FIELD)
    path.chmod(0o644)
    path.write_bytes(MODEL[::-1])
    assert fetcher.known(url, digest, NOWHERE, FIELD) is None
    assert fetcher.local(url, digest, NOWHERE, FIELD).read_bytes() == MODEL
    assert site.asked["/model.pb"] == 2
    assert len(warnings) == 1
    monkeypatch.setattr(Digest, "of_file", lambda _: pytest.fail("read again"))
    assert fetcher.known(url, digest, NOWHERE, FIELD) == path


def test_a_plan_fetches_nothing_and_writes_nothing(site: Site, fetcher: Fetcher, cache: Path, tmp_path: Path) -> None:
    data = zipped(TREE)
    (tmp_path / "m.zip").write_bytes(data)
    url, inside = site.serve("/m.zip", data), f"zip://export/1::{site.url}/m.zip"
    for stated, digest in ((url, sha256(data)), (inside, sha256(data)), ("zip://export/1::m.zip", None)):
        assert fetcher.known(stated, digest, tmp_path, FIELD) is None
        assert files(cache) == []
    assert not site.asked
    assert fetcher.known("m.zip", None, tmp_path, FIELD) == tmp_path / "m.zip"
    assert fetcher.known(url, sha256(data), tmp_path, FIELD) is None
    fetcher.local(url, sha256(data), tmp_path, FIELD)
    assert fetcher.known(inside, sha256(data), tmp_path, FIELD) is None, "fetched, and not unpacked"
    path = fetcher.local(inside, sha256(data), tmp_path, FIELD)
    for stated, digest in ((inside, sha256(data)), ("zip://export/1::m.zip", None)):
        assert fetcher.known(stated, digest, tmp_path, FIELD) == path
    assert site.asked["/m.zip"] == 1


@pytest.mark.parametrize(
    "place", ["export/1/saved_model.pb", "export/1", "export/1/variables/variables", "ckpt/.meta", "", "Modèle/étiquettes.txt"]
)
@pytest.mark.parametrize(("kind", "data"), [("zip", zipped(TREE)), ("tar", tarred(TREE, "w:gz"))], ids=["zip", "tar"])
def test_a_place_in_an_archive_is_a_file_a_folder_or_a_prefix(
    site: Site, fetcher: Fetcher, kind: str, data: bytes, place: str
) -> None:
    url = site.serve("/m.tar.gz", data)
    path = fetcher.local(f"{kind}://{place}::{url}", sha256(data), NOWHERE, FIELD)
    assert path.name == place.rpartition("/")[2] or not place
    expected = {name: content for name, content in TREE.items() if name.startswith(place)}
    found = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    found = found or list(path.parent.glob(f"{path.name}*"))
    assert sorted(file.read_bytes() for file in found) == sorted(expected.values())


def test_two_places_of_an_archive_are_fetched_and_unpacked_once(site: Site, fetcher: Fetcher) -> None:
    data = tarred(TREE)
    url = site.serve("/m.tar", data)
    first = fetcher.local(f"tar://export/1::{url}", sha256(data), NOWHERE, FIELD)
    second = fetcher.local(f"tar://README::{url}", sha256(data), NOWHERE, FIELD)
    assert first.parent.parent == second.parent
    assert site.asked["/m.tar"] == 1


def test_an_unpacked_file_that_was_edited_is_unpacked_again_without_a_fetch(
    site: Site, fetcher: Fetcher, warnings: Warnings
) -> None:
    data = tarred(TREE)
    stated = f"tar://export/1::{site.serve('/m.tar', data)}"
    path = fetcher.local(stated, sha256(data), NOWHERE, FIELD) / "saved_model.pb"
    path.chmod(0o644)
    path.write_bytes(b"evil")
    assert fetcher.local(stated, sha256(data), NOWHERE, FIELD) / "saved_model.pb" == path
    assert path.read_bytes() == TREE["export/1/saved_model.pb"]
    assert site.asked["/m.tar"] == 1
    assert len(warnings) == 1


def test_an_archive_in_an_archive_is_opened(site: Site, fetcher: Fetcher) -> None:
    data = tarred({"in.zip": zipped(TREE)})
    stated = f"zip://README::tar://in.zip::{site.serve('/m.tar', data)}"
    assert fetcher.local(stated, sha256(data), NOWHERE, FIELD).read_bytes() == b"hello"
    data = tarred({"export/in.zip": b""})
    stated = f"zip://a::tar://export::{site.serve('/m.tar', data)}"
    with pytest.raises(SourceError, match=r"the archive export in .*/m.tar cannot be read: Is a directory"):
        fetcher.local(stated, sha256(data), NOWHERE, FIELD)


def test_a_local_archive_is_unpacked_and_unpacked_anew_when_it_changes(fetcher: Fetcher, tmp_path: Path, cache: Path) -> None:
    archive = tmp_path / "models" / "e.zip"
    archive.parent.mkdir()
    archive.write_bytes(zipped({"a": b"old"}))
    assert fetcher.local("zip://a::models/e.zip", None, tmp_path, FIELD).read_bytes() == b"old"
    assert fetcher.local(f"zip://a::file://{archive}", None, tmp_path, FIELD).read_bytes() == b"old"
    archive.write_bytes(zipped({"a": b"new"}))
    assert fetcher.local("zip://a::models/e.zip", None, tmp_path, FIELD).read_bytes() == b"new"
    with pytest.raises(SourceError, match="is not the file that was meant"):
        fetcher.local("zip://a::models/e.zip", "0" * 64, tmp_path, FIELD)
    with pytest.raises(SourceError, match=r"source.path: expected an archive at .*none.zip, found nothing"):
        fetcher.local("zip://a::none.zip", None, tmp_path, FIELD)


def test_an_archive_that_changes_while_it_is_unpacked_is_not_kept(
    fetcher: Fetcher, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlkit_build.fetch import unpack as module

    archive, real = tmp_path / "e.zip", module.unpack
    archive.write_bytes(zipped({"a": b"old"}))

    def racing(*arguments: Any) -> dict[str, Digest]:
        archive.write_bytes(zipped({"a": b"newer"}))
        return real(*arguments)

    monkeypatch.setattr(module, "unpack", racing)
    with pytest.raises(SourceError, match=r"the archive e.zip changed while it was unpacked"):
        fetcher.local("zip://a::e.zip", None, tmp_path, FIELD)
    assert files(cache) == []


def test_a_place_that_is_not_in_the_archive_suggests_another(fetcher: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "e.zip").write_bytes(zipped(TREE))
    with pytest.raises(SourceError, match=r"source.path: nothing at 'exports/1' in the archive e.zip") as caught:
        fetcher.local("zip://exports/1::e.zip", None, tmp_path, FIELD)
    assert "export/1" in caught.value.hint
    with pytest.raises(SourceError) as caught:
        fetcher.local("zip://zzzzzzzzzzzzzzz::e.zip", None, tmp_path, FIELD)
    assert "it holds Modèle, Modèle/étiquettes.txt, README, ckpt, ckpt/.meta, ..." in caught.value.hint


def test_a_hostile_archive_leaves_nothing(site: Site, fetcher: Fetcher, cache: Path) -> None:
    data = tarred({"a": b"x", "../evil": b"x"})
    with pytest.raises(SourceError, match="leads out of it"):
        fetcher.local(f"tar://a::{site.serve('/m.tar', data)}", sha256(data), NOWHERE, FIELD)
    assert sorted(Path(name).name for name in files(cache)) == ["index.json", "m.tar"]


def start(cache: Path, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.fetch.one_fetch", str(cache), url, sha256(MODEL)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_download_is_not_taken_for_whole_and_is_cleaned_up(site: Site, fetcher: Fetcher, cache: Path) -> None:
    process = start(cache, f"{site.url}/slow")
    assert process.stderr is not None
    for line in process.stderr:
        if int(line) > 2000:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (partial,) = files(cache)
    assert partial.endswith("/files/slow")
    assert fetcher.known(f"{site.url}/slow", sha256(MODEL), NOWHERE, FIELD) is None
    site.serve("/slow", MODEL)
    assert fetcher.local(f"{site.url}/slow", sha256(MODEL), NOWHERE, FIELD).read_bytes() == MODEL
    assert list((cache / "v1" / "tmp").iterdir()) == []


def test_two_builds_at_once_fetch_once(site: Site, cache: Path) -> None:
    second_waits = threading.Event()

    def patient(request: Any) -> None:
        second_waits.wait(20)
        answer(request, MODEL)

    site.pages["/model.pb"] = patient
    first = start(cache, f"{site.url}/model.pb")
    while not site.asked["/model.pb"]:
        assert first.poll() is None
        time.sleep(0.01)
    second = start(cache, f"{site.url}/model.pb")
    assert second.stderr is not None
    assert second.stderr.readline() == "0\n", "it says that it waits"
    second_waits.set()
    printed = [process.communicate(timeout=20)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert printed[0] == printed[1]
    assert Path(printed[0].strip()).read_bytes() == MODEL
    assert site.asked["/model.pb"] == 1


def test_a_relative_cache_folder_gives_absolute_paths(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_fetcher(Path("cache"), Warnings(), Progress()) as fetcher:
        path = fetcher.local(f"{site.url}/model.pb", sha256(MODEL), NOWHERE, FIELD)
    assert path.is_relative_to(tmp_path / "cache")


def test_without_a_cache_the_file_lives_as_long_as_the_build(site: Site) -> None:
    for _ in range(2):
        with open_fetcher(None, Warnings(), Progress()) as fetcher:
            for _ in range(2):
                path = fetcher.local(f"{site.url}/model.pb", sha256(MODEL), NOWHERE, FIELD)
                assert path.read_bytes() == MODEL
        assert not path.exists()
    assert site.asked["/model.pb"] == 2
