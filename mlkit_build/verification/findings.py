"""What is found of a place while it is verified, and whom it is blamed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlkit_build.verification.documents import PackingList, Stated
from mlkit_build.verification.envelope import Envelope


@dataclass(frozen=True)
class Wrong:
    """A file that is not what the bundle says, and how."""

    file: str
    found: str


@dataclass(frozen=True)
class Verified:
    """What came of verifying one bundle, or an archive for apps alone.

    Attributes:
        wrong: Every file that is not as stated, by name; none for a bundle that is what it says it is.
        stated: What its manifest says, where it could be read; or what the archive says of itself.
        files: How many files were hashed.
        size_bytes: Of all of them.
        sha256: Of the manifest, which stands for the whole bundle; of the archive itself, where that was verified alone.
        signed: What its signature says of itself; None without one. That it is genuine is known only where somebody was trusted.
        compared: The manifest that the archive was compared with; empty for none.
    """

    wrong: tuple[Wrong, ...]
    stated: Stated | PackingList | None
    files: int
    size_bytes: int
    sha256: str
    signed: Envelope | None = None
    compared: str = ""


@dataclass
class Findings:
    """What is known so far: file -> digest, document -> what it says of files, and what is wrong."""

    digests: dict[str, tuple[str, int]] = field(default_factory=dict)
    said: dict[str, Mapping[str, str]] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    def blame(self, file: str, found: str) -> None:
        """The first thing found of a file explains it best."""
        self.wrong.setdefault(file, found)

    def verified(self, stated: Stated | PackingList | None, sha256: str, signed: Envelope | None, compared: str = "") -> Verified:
        """Return what came of it."""
        wrong = tuple(Wrong(name, self.wrong[name]) for name in sorted(self.wrong))
        total = sum(size for _, size in self.digests.values())
        return Verified(wrong, stated, len(self.digests), total, sha256, signed, compared)
