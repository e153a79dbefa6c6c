"""Archives, fine and hostile: the files under their names, or one message and nothing outside the folder."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlkit_build.errors import SourceError
from mlkit_build.fetch import unpack as module
from mlkit_build.fetch.unpack import unpack
from mlkit_build.store import Digest

TREE = {
    "export/1/saved_model.pb": b"graph" * 300,
    "export/1/variables/variables.index": b"",
    "export/1/variables/variables.data-00000-of-00001": os.urandom(512) * 10,
    "ckpt/.meta": b"m",
    "Modèle/étiquettes.txt": b"chat\n",
    "README": b"hello",
}


def zipped(tree: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of duplicate names
        for name, data in tree.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(tree: dict[str, bytes], mode: str = "w", **options: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, **options) as archive:  # type: ignore[call-overload]
        for name, data in tree.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


class Unpacked:
    """Unpacks bytes to a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "outer" / "folder"

    def __call__(self, data: bytes, kind: str) -> dict[str, Digest]:
        archive = self.root / "archive"
        archive.write_bytes(data)
        self.folder.mkdir(parents=True)
        return unpack(archive, kind, self.folder, "https://h/m", "source.path")

    def refused(self, data: bytes, kind: str, message: str) -> SourceError:
        with pytest.raises(SourceError) as caught:
            self(data, kind)
        assert caught.value.message.startswith("source.path: the archive https://h/m ")
        assert message in caught.value.message
        assert sorted(path.name for path in self.root.iterdir()) == ["archive", "outer"]
        assert [path.name for path in (self.root / "outer").iterdir()] == ["folder"]
        return caught.value


@pytest.fixture
def unpacked(tmp_path: Path) -> Unpacked:
    return Unpacked(tmp_path)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("zip", zipped(TREE)),
        ("zip", zipped(TREE, zipfile.ZIP_STORED)),
        ("zip", b"#!/bin/sh\n" + zipped(TREE)),
        ("tar", tarred(TREE)),
        ("tar", tarred(TREE, "w:gz")),
        ("tar", tarred(TREE, "w:bz2")),
        ("tar", tarred(TREE, "w:xz")),
        ("tar", tarred(TREE, format=tarfile.PAX_FORMAT)),
        ("tar", tarred(TREE, format=tarfile.GNU_FORMAT)),
        ("tar", tarred({f"./{name}": data for name, data in TREE.items()})),
    ],
    ids=["zip", "stored", "behind-a-stub", "tar", "gz", "bz2", "xz", "pax", "gnu", "dots"],
)
def test_every_file_comes_out_under_its_name(unpacked: Unpacked, kind: str, data: bytes) -> None:
    index = unpacked(data, kind)
    found = {path.relative_to(unpacked.folder).as_posix(): path for path in unpacked.folder.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == TREE
    assert index == {name: Digest.of_bytes(data) for name, data in TREE.items()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found.values()} == {0o444}


def test_folders_come_out_even_when_empty_or_named_twice(unpacked: Unpacked) -> None:
    folder = member("assets", tarfile.DIRTYPE)
    folder.mode = 0
    assert unpacked(tar_of((folder, b""), (folder, b""), (member("assets/a/b", size=1), b"x")), "tar").keys() == {"assets/a/b"}
    assert (unpacked.folder / "assets/a/b").read_bytes() == b"x"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/mlkit-build-evil", "..", "a/.."])
@pytest.mark.parametrize(("kind", "make"), [("zip", zipped), ("tar", tarred)])
def test_a_name_that_leads_out_is_refused(
    unpacked: Unpacked, name: str, kind: str, make: Callable[[dict[str, bytes]], bytes]
) -> None:
    unpacked.refused(make({"model.pb": b"x", name: b"evil"}), kind, f"holds {name!r}, which leads out of it")
    assert not Path("/tmp/mlkit-build-evil").exists()


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a special file"),
        (tarfile.BLKTYPE, "a special file"),
        (tarfile.FIFOTYPE, "a special file"),
        (b"Q", ""),
    ],
)
def test_links_and_special_files_are_refused(unpacked: Unpacked, kind: bytes, what: str) -> None:
    data = tar_of((member("a", kind, "/etc"), b""), (member("a/passwd", size=4), b"evil"))
    if what:
        unpacked.refused(data, "tar", f"holds {what} 'a'")
    else:  # POSIX: a type that nobody knows is a regular file
        unpacked.refused(data, "tar", "holds")


def test_a_link_in_a_zip_is_refused(unpacked: Unpacked) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("a")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc")
    unpacked.refused(buffer.getvalue(), "zip", "holds a link 'a'")


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("a", "./a"), ("a", "a/b"), ("a/b", "a"), ("d/a", "d//a")])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_comes_twice_is_refused(unpacked: Unpacked, kind: str, first: str, second: str) -> None:
    if kind == "tar":
        data = tar_of((member(first, size=1), b"1"), (member(second, size=1), b"2"))
    else:
        buffer = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
            warnings.simplefilter("ignore")
            archive.writestr(first, b"1")
            archive.writestr(second, b"2")
        data = buffer.getvalue()
    unpacked.refused(data, kind, "twice, or as a file and a folder")


@pytest.mark.parametrize("name", ["x" * 300, "d/" * 600 + "x"])
@pytest.mark.parametrize(("kind", "make"), [("zip", zipped), ("tar", tarred)])
def test_a_name_that_no_disk_takes_is_refused(
    unpacked: Unpacked, name: str, kind: str, make: Callable[[dict[str, bytes]], bytes]
) -> None:
    unpacked.refused(make({name: b"x"}), kind, "a name that is too long")


@pytest.mark.parametrize(
    ("kind", "make"),
    [("zip", zipped), ("tar", lambda tree: tarred(tree, "w:gz")), ("tar", lambda tree: tarred(tree, "w:bz2"))],
    ids=["zip", "gz", "bz2"],
)
def test_a_bomb_is_refused_before_it_fills_the_disk(
    unpacked: Unpacked, monkeypatch: pytest.MonkeyPatch, kind: str, make: Callable[[dict[str, bytes]], bytes]
) -> None:
    monkeypatch.setattr(module, "MIN_LIMIT_BYTES", 1 << 20)
    data = make({f"zeros{number}": bytes(1 << 19) for number in range(12)})
    assert len(data) < 20_000
    unpacked.refused(data, kind, "unpacks to more than ")
    assert sum(path.stat().st_size for path in unpacked.folder.iterdir()) <= max(100 * len(data), 1 << 20)


def test_a_size_that_only_the_header_states_is_refused(unpacked: Unpacked) -> None:
    info = member("huge", size=1 << 50)
    unpacked.refused(info.tobuf() + bytes(1024), "tar", "unpacks to more than ")


def test_a_header_does_not_fill_the_memory(unpacked: Unpacked) -> None:
    """A name of 64 MB of zeros, in a few kB of gzip."""
    import gzip

    size = 64 << 20
    long_name = member("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=size)
    data = gzip.compress(long_name.tobuf(tarfile.GNU_FORMAT) + bytes(size) + member("a").tobuf() + bytes(1024), 1)
    tracemalloc.start()
    try:
        unpacked.refused(data, "tar", "cannot be read as tar")
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_too_many_members_are_refused(unpacked: Unpacked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 3)
    unpacked.refused(tarred({str(number): b"" for number in range(4)}), "tar", "has more than 3 members")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_without_bounds_is_refused(unpacked: Unpacked, compression: int) -> None:
    unpacked.refused(zipped({"a": b"x" * 100}, compression), "zip", "an uncommon compression")


def test_an_encrypted_zip_says_so(unpacked: Unpacked) -> None:
    data = bytearray(zipped({"a": b"secret"}, zipfile.ZIP_STORED))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    assert "password" in unpacked.refused(bytes(data), "zip", "is encrypted").hint


def test_a_size_that_a_zip_lies_about_is_refused(unpacked: Unpacked) -> None:
    data = zipped({"a": b"0123456789"})
    lying = data.replace(struct.pack("<L", 10), struct.pack("<L", 5)).replace(struct.pack("<L", 10), struct.pack("<L", 5))
    assert lying != data
    unpacked.refused(lying, "zip", "cannot be read as zip")


@pytest.mark.parametrize(
    ("data", "kind", "other"),
    [(tarred(TREE, "w:gz"), "zip", "tar"), (tarred(TREE), "zip", "tar"), (zipped(TREE), "tar", "zip")],
    ids=["gz", "tar", "zip"],
)
def test_another_kind_of_archive_says_which(unpacked: Unpacked, data: bytes, kind: str, other: str) -> None:
    assert f"write {other}://" in unpacked.refused(data, kind, f"is no {kind} archive").hint


@pytest.mark.parametrize("data", [b"", b"\x80GraphDef" * 100], ids=["empty", "model"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_is_no_archive_says_so(unpacked: Unpacked, data: bytes, kind: str) -> None:
    unpacked.refused(data, kind, f"cannot be read as {kind}")


SMALL = {"a/b": b"12345" * 200, "c": b"x"}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tar_cut_short_anywhere_is_refused(tmp_path: Path, mode: str) -> None:
    whole = tarred(SMALL, mode)
    end = 512 + 1024 + 512 + 512 if mode == "w" else len(whole)  # before the blocks of zeros that end a tar
    for length in range(0, end, 61 if mode == "w" else 7):
        room = Unpacked(tmp_path / str(length))
        room.root.mkdir()
        room.refused(whole[:length], "tar", "cannot be read as tar")


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(unpacked: Unpacked) -> None:
    data = bytearray(tarred(SMALL))
    data[512 + 1024 + 10] ^= 1
    unpacked.refused(bytes(data), "tar", "no end of the archive")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.sampled_from([("zip", zipped(SMALL)), ("tar", tarred(SMALL)[:3584]), ("tar", tarred(SMALL, "w:gz"))]),
    changes=st.lists(st.tuples(st.integers(0, 3583), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_damaged_archive_is_one_message_or_no_matter(
    tmp_path_factory: pytest.TempPathFactory, which: tuple[str, bytes], changes: list[tuple[int, int]]
) -> None:
    kind, whole = which
    data = bytearray(whole)
    for offset, value in changes:
        data[offset % len(data)] = value
    room = Unpacked(tmp_path_factory.mktemp("damaged"))
    try:
        index = room(bytes(data), kind)
    except SourceError:
        return
    assert all(Digest.of_file(room.folder / name) == digest for name, digest in index.items())


def test_a_large_compressed_tar_is_read_once(unpacked: Unpacked) -> None:
    """Not from the beginning for every member, as seeking back in a compressed stream would."""
    data = tarred({str(number): os.urandom(512) + bytes(512 * 1023) for number in range(60)}, "w:gz")
    started = time.perf_counter()
    assert len(unpacked(data, "tar")) == 60
    assert time.perf_counter() - started < 5
