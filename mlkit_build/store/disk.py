"""One folder of blobs and records. Entries appear whole or not at all, whatever is killed when.

Layout: `v1/ac/<k2>/<key>.json` records, `v1/cas/<d2>/<sha256>` blobs, `v1/history/<scope>.json` the last keys of a scope,
`v1/files/<p2>/<path hash>.json` digests of the user's files, `v1/tmp/`, `v1/locks/`. A record is written after its blobs. Folders
that are kept beside them, `v1/fetched/` and `v1/runtimes/`, are made by others and counted and cleared here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlkit_build.bounded import read_regular
from mlkit_build.plain import canonical, pretty
from mlkit_build.records import dataclass
from mlkit_build.store.digest import Digest

VERSION = "v1"
RECORD_SCHEMA = 1
HISTORY_LENGTH = 16
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Record:
    """What an action with this key produced.

    Attributes:
        key: SHA-256 of the canonical document.
        document: The key document: everything that decided the result.
        outputs: File name -> digest.
        seconds: How long it took when it ran.
    """

    key: str
    document: Mapping[str, Any]
    outputs: Mapping[str, Digest]
    seconds: float


class BlobUnusableError(Exception):
    """A blob is missing, or its bytes are not those its name promises."""

    def __init__(self, digest: Digest, problem: str) -> None:
        super().__init__(f"blob {digest.sha256[:12]} {problem}")
        self.digest = digest
        self.problem = problem


class DiskStore:
    """A store in one folder. Every method raises OSError where the disk refuses; none leaves a partial entry."""

    def __init__(self, root: Path) -> None:
        self.root = root / VERSION

    # Records

    def find(self, key: str) -> Record | None:
        """Return the record of `key`, or None when there is none, it is damaged, or one of its blobs is gone."""
        record = read_record(self._record_path(key), key)
        if record is None or not all(self._has(digest) for digest in record.outputs.values()):
            return None
        return record

    def keep(self, record: Record, files: Mapping[str, Path], scope: str) -> None:
        """Store the files of `record`, then the record itself, then remember its key for `scope`.

        Raises:
            OSError: The folder cannot be written or is full.
        """
        for name, digest in record.outputs.items():
            self._add(files[name], digest)
        outputs = {name: [digest.sha256, digest.size_bytes] for name, digest in record.outputs.items()}
        body = {"key": record.key, "document": record.document, "outputs": outputs, "seconds": round(record.seconds, 3)}
        self._write(self._record_path(record.key), pretty({"schema": RECORD_SCHEMA, **body}))
        history = [key for key in self._history(scope) if key != record.key]
        self._write(self._history_path(scope), canonical([record.key, *history][:HISTORY_LENGTH]))

    def recent(self, scope: str) -> Iterator[Record]:
        """Yield the last records kept for `scope`, newest first, whether or not their blobs are still here."""
        for key in self._history(scope):
            record = read_record(self._record_path(key), key)
            if record is not None:
                yield record

    # Blobs

    def blob(self, digest: Digest) -> Path:
        """Return the path of the blob, read-only, after reading it and checking its digest.

        A damaged blob is set aside, so that it is rebuilt.

        Raises:
            BlobUnusableError: It is missing or damaged.
        """
        path = self._blob_path(digest.sha256)
        try:
            found = Digest.of_file(path)
        except OSError as error:
            raise BlobUnusableError(digest, "is missing") from error
        if found != digest:
            aside = self.root / "tmp" / f"damaged-{digest.sha256}"
            try:
                aside.parent.mkdir(parents=True, exist_ok=True)
                path.replace(aside)
                if Digest.of_file(aside) == digest:  # another build mended it between the look and the move
                    aside.replace(path)
                    return path
            except FileNotFoundError:
                pass  # another build was first
            except OSError:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            raise BlobUnusableError(digest, f"is damaged (its bytes hash to {found.sha256[:12]}); set aside")
        return path

    # Locks, size, cleaning

    @contextmanager
    def lock(self, key: str, timeout: float = -1) -> Iterator[None]:
        """Hold the lock of `key`: a second builder of the same key waits here and then finds the record.

        Raises:
            OSError: The lock cannot be had at all; correctness does not need it.
            TimeoutError: Somebody else holds it for longer than `timeout` seconds.
        """
        from filelock import FileLock, Timeout

        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{key}.lock")
        try:
            lock.acquire(timeout=timeout)
        except Timeout as error:
            raise TimeoutError(key) from error
        try:
            yield
        finally:
            lock.release()

    def size(self) -> tuple[int, int, int]:
        """Return the number of records, the number of blobs and of files in kept folders, and the bytes of these."""
        records = sum(1 for _ in self.root.glob("ac/*/*.json"))
        folders = (*self.root.glob("fetched/*/*/files/**/*"), *self.root.glob("runtimes/*/**/*"))
        kept = [*self.root.glob("cas/*/*"), *(path for path in folders if path.is_file())]
        sizes = [path.lstat().st_size for path in kept]
        return records, len(sizes), sum(sizes)

    def clear(self) -> None:
        """Delete every entry. Records go first, so that an interruption leaves blobs without records and never the reverse."""
        for part in ("ac", "history", "files", "cas", "fetched", "runtimes", "tmp", "locks"):
            shutil.rmtree(self.root / part, ignore_errors=True)
            if (self.root / part).exists():
                raise OSError(f"cannot delete {self.root / part}")

    # Small files beside the records

    def read_note(self, *parts: str) -> Any:
        """Return the JSON value of a small file of the store, or None when it is missing or damaged."""
        try:
            return json.loads(read_regular(self.root.joinpath(*parts)))
        except (OSError, ValueError, RecursionError):
            return None

    def write_note(self, value: Any, *parts: str) -> None:
        """Replace a small file of the store.

        Raises:
            OSError: It cannot be written.
        """
        self._write(self.root.joinpath(*parts), canonical(value))

    def _record_path(self, key: str) -> Path:
        return self.root / "ac" / key[:2] / f"{key}.json"

    def _blob_path(self, sha256: str) -> Path:
        return self.root / "cas" / sha256[:2] / sha256

    def _history_path(self, scope: str) -> Path:
        return self.root / "history" / f"{Digest.of_bytes(scope.encode()).sha256[:32]}.json"

    def _history(self, scope: str) -> list[str]:
        keys = self.read_note("history", self._history_path(scope).name)
        return [key for key in keys if isinstance(key, str) and _SHA256.fullmatch(key)] if isinstance(keys, list) else []

    def _has(self, digest: Digest) -> bool:
        try:
            status = self._blob_path(digest.sha256).stat()
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == digest.size_bytes

    def _add(self, file: Path, digest: Digest) -> None:
        target = self._blob_path(digest.sha256)
        if not self._has(digest):
            with file.open("rb") as source:
                self._write(target, source, mode=0o444)

    def _write(self, target: Path, content: Any, mode: int = 0o644) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = self.root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    shutil.copyfileobj(content, file, 1 << 20)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def read_record(path: Path, key: str) -> Record | None:
    """Return the record in the file at `path`, or None unless it is whole and is the record of `key`."""
    try:
        value = json.loads(read_regular(path))
        if value["schema"] != RECORD_SCHEMA or value["key"] != key:
            return None
        if Digest.of_bytes(canonical(value["document"])).sha256 != key:
            return None
        outputs = {str(name): Digest(sha256, int(size)) for name, (sha256, size) in value["outputs"].items()}
        if not all(_SHA256.fullmatch(digest.sha256) for digest in outputs.values()):
            return None
        return Record(key, value["document"], outputs, float(value["seconds"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
