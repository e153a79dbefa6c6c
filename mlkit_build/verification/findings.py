"""What is found of a place while it is verified, and whom it is blamed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Wrong:
    """A file that is not what the bundle says, and how."""

    file: str
    found: str


@dataclass
class Findings:
    """What is known so far: file -> digest, document -> what it says of files, and what is wrong."""

    digests: dict[str, tuple[str, int]] = field(default_factory=dict)
    said: dict[str, Mapping[str, str]] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    def blame(self, file: str, found: str) -> None:
        """The first thing found of a file explains it best."""
        self.wrong.setdefault(file, found)
