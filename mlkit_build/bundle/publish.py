"""A bundle appears at its place as a whole, and replaces the one before as a whole, whatever is killed when."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mlkit_build.bounded import read_regular
from mlkit_build.bundle.archives import CHECKSUMS as CHECKSUMS
from mlkit_build.bundle.archives import Archive, checksums
from mlkit_build.errors import ConfigError, StoreError
from mlkit_build.store import Digest
from mlkit_build.temporary import folder_in, unlocked_name

MANIFEST = "manifest.json"
PROVENANCE = "provenance.json"
SIGNATURE = "model.sig"
"""Says who answers for the files of a bundle, where it is signed: for all but itself and the checksums, which list it."""
_SCHEMA = b'"mlkit-build/manifest/'
"""What every manifest of ours holds, of whatever version."""
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def check_place(place: Path) -> None:
    """Refuse a place below something that is no folder, or that is somebody's, before a build is done for it.

    Raises:
        ConfigError: There is such a thing; names it.
        StoreError: Something there is no bundle.
    """
    _refuse_strangers(place)
    for above in place.parents:
        if above.is_dir():
            return
        if os.path.lexists(above):
            found = "a link to nothing" if above.is_symlink() else "a file"
            raise ConfigError(f"output_dir: {above}: expected a folder, found {found}", "set output_dir= to a folder")


Signed = Callable[[bytes | None, Mapping[str, Digest]], bool]
"""Takes a bundle's signature, None where it has none, and name -> digest of what it has to cover; whether that is as asked."""


def is_published(
    place: Path,
    manifest: bytes,
    files: Mapping[str, Digest],
    archives: Sequence[Archive] = (),
    signed: Signed = lambda signature, _: signature is None,
) -> bool:
    """Return whether the folder `place` holds exactly this bundle, byte for byte.

    Args:
        manifest: The bytes of its manifest.
        files: Place in the bundle -> digest of every other file, but for provenance, checksums and signature, which vary.
        archives: What holds all of them in one file, besides.
        signed: Whether the signature there will do; not asked where the signature is among `files`.
    """
    expected = {*files, MANIFEST, PROVENANCE, *(archive.name for archive in archives)}
    try:
        found = set(_contents(place))
        if found - {SIGNATURE} != {*expected, CHECKSUMS} - {SIGNATURE} or read_regular(place / MANIFEST) != manifest:
            return False
        digests = {name: Digest.of_file(place / name) for name in found - {CHECKSUMS}}
        if any(digests.get(name) != digest for name, digest in files.items()):
            return False
        held = [*files, MANIFEST]
        if any(digests[archive.name] != archive.digest(place, held) for archive in archives):
            return False
        signature = read_regular(place / SIGNATURE) if SIGNATURE in found else None
        if SIGNATURE not in files and not signed(signature, {name: digests[name] for name in expected}):
            return False
        return read_regular(place / CHECKSUMS) == checksums(digests)
    except OSError:
        return False


def publish(place: Path, write: Callable[[Path], None]) -> None:
    """Have `write` fill a new folder, add the checksums, and put it at `place` in one step.

    Raises:
        StoreError: The output folder cannot be written; what was at `place` is untouched.
    """
    _refuse_strangers(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with folder_in(place.parent, _prefix(place)) as staged:
            write(staged)
            (staged / CHECKSUMS).write_bytes(_checksums(staged, list(_contents(staged))))
            for path in staged.rglob("*"):
                _sync(path)
            _sync(staged)
            _put(staged, place)
            _sync(place.parent)
    except OSError as error:
        raise _refused(place, error) from error


def _prefix(place: Path) -> str:
    return f".{place.name}."


def _refuse_strangers(place: Path) -> None:
    """Only a bundle, or an empty folder, is replaced: whatever else is there is somebody's work."""
    if not os.path.lexists(place) or _is_bundle(place):
        return
    if place.is_dir() and not place.is_symlink() and not any(place.iterdir()):  # a link leads to a place that was chosen
        return
    raise StoreError(
        f"output_dir: {place}: expected a bundle or nothing there, found "
        + (f"a {MANIFEST} of something else" if (place / MANIFEST).is_file() else f"something without {MANIFEST}"),
        "move it away, or set output_dir= or variant= to another place",
    )


def _is_bundle(place: Path) -> bool:
    """Return whether a bundle is there, even a damaged one. A manifest.json alone is no sign: web apps have one."""
    if (place / MANIFEST).is_file() and (place / CHECKSUMS).is_file():
        return True
    try:
        return _SCHEMA in read_regular(place / MANIFEST)
    except OSError:
        return False


def _put(staged: Path, place: Path) -> None:
    """Swap the folders, so that `place` is never missing; afterwards `staged` is the old one, if there was one."""
    if not os.path.lexists(place):
        try:
            staged.rename(place)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    if place.is_dir() and not place.is_symlink() and _exchange(staged, place):
        return
    aside = unlocked_name(place.parent, _prefix(place)) / place.name
    aside.parent.mkdir()
    try:
        place.rename(aside)
        staged.rename(place)
    except BaseException:
        if os.path.lexists(aside) and not os.path.lexists(place):
            aside.rename(place)
        raise
    finally:
        shutil.rmtree(aside.parent, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders atomically with Linux's renameat2; False where the system or file system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    paths = (os.fsencode(first), os.fsencode(second))
    return bool(rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)


def _checksums(folder: Path, names: list[str]) -> bytes:
    return checksums({name: Digest.of_file(folder / name) for name in names})


def _contents(folder: Path, above: str = "") -> Iterator[str]:
    """Yield the place of every file in the folder and its folders, and of folders that hold nothing, with a slash behind."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from [*_contents(Path(entry.path), f"{above}{entry.name}/")] or [f"{above}{entry.name}/"]
        else:
            yield f"{above}{entry.name}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(place: Path, error: OSError) -> StoreError:
    return StoreError(
        f"output_dir: {place}: {error.strerror or error}; a bundle that was there before is untouched",
        "set output_dir= to a folder that can be written, with room for the bundle",
    )
