"""A bundle in one file, `zip` or `tar`: equal bundles, equal bytes.

It holds every file that equal builds make equal, the manifest among them, and the checksums of these. So it is not among what the
manifest lists, which would have to know its own digest; the folder's SHA256SUMS covers it. The provenance, which says when and
where, stays outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO

from mlkit_build.formats.zipping import Content, write_zip
from mlkit_build.records import dataclass
from mlkit_build.store import Digest

CHECKSUMS = "SHA256SUMS"
_TIME = 315532800
"""1980-01-01, in seconds since the epoch: the time that the zip archive has too."""
_MODE = 0o644

Entries = Iterable[tuple[str, Content]]


@dataclass(frozen=True)
class Archive:
    """One archive of a bundle.

    Attributes:
        kind: `zip` or `tar`.
        root: The one folder in it, and its own name without the extension.
    """

    kind: str
    root: str

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.root}.{self.kind}"

    def write(self, folder: Path, names: Sequence[str], file: IO[bytes]) -> None:
        """Write the files `names` of `folder`, in order of name, with their checksums."""
        ordered = sorted(names)
        sums = checksums({name: Digest.of_file(folder / name) for name in ordered})
        contents: dict[str, Content] = {**{name: folder / name for name in ordered}, CHECKSUMS: sums}
        _WRITERS[self.kind](file, [(f"{self.root}/{name}", contents[name]) for name in sorted(contents)])

    def digest(self, folder: Path, names: Sequence[str]) -> Digest:
        """Return the digest of what `write` writes."""
        import tempfile

        with tempfile.NamedTemporaryFile() as file:
            self.write(folder, names, file.file)
            file.flush()
            return Digest.of_file(Path(file.name))


def checksums(digests: Mapping[str, Digest]) -> bytes:
    """Return the lines that `sha256sum -c` reads, in order of name."""
    return "".join(f"{digests[name].sha256}  {name}\n" for name in sorted(digests)).encode()


def _write_tar(file: IO[bytes], entries: Entries) -> None:
    import tarfile  # not at the top: few bundles have such an archive, and every build reads this module

    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.mtime, entry.mode = _TIME, _MODE
            if isinstance(content, bytes):
                entry.size = len(content)
                archive.addfile(entry, BytesIO(content))
            else:
                entry.size = content.stat().st_size
                with content.open("rb") as source:
                    archive.addfile(entry, source)


_WRITERS: Mapping[str, Callable[[IO[bytes], Entries], None]] = {"zip": write_zip, "tar": _write_tar}
