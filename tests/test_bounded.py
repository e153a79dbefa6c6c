"""What a user names is read where it is a file that ends, and never waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlkit_build.bounded import IrregularError, open_regular, read_regular, read_whole
from mlkit_build.errors import SourceError


def test_a_file_and_a_link_to_one_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to("file")
    for path in (tmp_path / "file", tmp_path / "link"):
        assert read_regular(path) == b"0123456789"
        assert read_regular(path, 4) == b"0123"
        assert read_whole(path, 10) == b"0123456789"
        with open_regular(path) as file:
            assert file.read(3) == b"012"
    with pytest.raises(SourceError, match="expected at most 9 bytes, found 10"):
        read_whole(tmp_path / "file", 9)


def test_a_pipe_a_link_to_one_and_a_folder_are_refused_and_nothing_stays_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    before = len(list(Path("/dev/fd").iterdir()))
    for path in (tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(IrregularError, match="it is a pipe or a device"):
            open_regular(path)
        with pytest.raises(SourceError, match="the model: expected a file, found a pipe or a device"):
            read_whole(path, 10, "the model")
    with pytest.raises(IsADirectoryError):
        read_whole(tmp_path, 10)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nothing")
    assert len(list(Path("/dev/fd").iterdir())) == before
