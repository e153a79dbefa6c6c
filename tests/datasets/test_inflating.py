from __future__ import annotations

import random
import struct
import zipfile
from pathlib import Path

import pytest

from mlkit_build.datasets.inflating import inflated, inflates

DATA = random.Random(0).randbytes(3000) * 40 + bytes(500_000)


def archive(folder: Path, data: bytes = DATA, compression: int = zipfile.ZIP_DEFLATED) -> tuple[Path, zipfile.ZipInfo]:
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("before", b"other bytes")
        file.writestr("member", data)
        file.writestr("after", b"other bytes")
        return path, file.getinfo("member")


def changed(path: Path, offset: int, data: bytes) -> Path:
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(data)] = data
    path.write_bytes(bytes(whole))
    return path


def read_whole(path: Path, member: zipfile.ZipInfo, size: int = 1 << 16) -> bytes:
    with inflated(path, member) as stream:
        return b"".join(iter(lambda: stream.read(size), b""))


@pytest.mark.parametrize("size", [1000, 65536, 1 << 20])
def test_a_member_is_read_as_zipfile_reads_it(tmp_path: Path, size: int) -> None:
    path, member = archive(tmp_path)
    assert read_whole(path, member, size) == DATA


def test_the_position_is_that_in_the_inflated_bytes(tmp_path: Path) -> None:
    with inflated(*archive(tmp_path)) as stream:
        stream.read(70_000)
        assert stream.tell() == 70_000


def test_an_empty_member_has_no_bytes(tmp_path: Path) -> None:
    assert read_whole(*archive(tmp_path, b"")) == b""


@pytest.mark.parametrize(("compression", "expected"), [(zipfile.ZIP_DEFLATED, True), (zipfile.ZIP_STORED, False)])
def test_only_deflated_members_are_inflated(tmp_path: Path, compression: int, expected: bool) -> None:
    assert inflates(archive(tmp_path, compression=compression)[1]) is expected


def test_damage_is_noticed_by_the_end(tmp_path: Path) -> None:
    path, member = archive(tmp_path)
    for offset in range(member.header_offset + 60, member.header_offset + member.compress_size, 97):
        before = path.read_bytes()
        changed(path, offset, bytes([before[offset] ^ 0x10]))
        with pytest.raises((zipfile.BadZipFile, OSError, EOFError)):
            read_whole(path, member)
        path.write_bytes(before)


def test_another_checksum_is_refused(tmp_path: Path) -> None:
    path, member = archive(tmp_path)
    member.CRC ^= 1
    with pytest.raises(OSError, match="CRC"):
        read_whole(path, member)


@pytest.mark.parametrize("more", [1, 400_000])
def test_more_bytes_than_the_archive_says_are_refused(tmp_path: Path, more: int) -> None:
    path, member = archive(tmp_path)
    member.file_size -= more
    with pytest.raises((zipfile.BadZipFile, OSError), match=r"longer than the archive|length"):
        read_whole(path, member)


def test_a_member_that_ends_early_is_refused(tmp_path: Path) -> None:
    path, member = archive(tmp_path)
    member.compress_size //= 2
    with pytest.raises((EOFError, zipfile.BadZipFile)):
        read_whole(path, member)


def test_a_member_that_is_elsewhere_is_refused(tmp_path: Path) -> None:
    path, member = archive(tmp_path)
    changed(path, member.header_offset, struct.pack("<I", 0))
    with pytest.raises(zipfile.BadZipFile, match="member is not where the archive says"):
        inflated(path, member)
