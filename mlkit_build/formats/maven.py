"""A publication in a Maven repository that is a folder: POM, Gradle module metadata, version list, checksums of each.

POM: https://maven.apache.org/xsd/maven-4.0.0.xsd. Module metadata: Gradle's specification, format 1.1. Layout and checksums:
https://maven.apache.org/repositories/layout.html.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from mlkit_build.records import dataclass

CHECKSUMS = ("md5", "sha1", "sha256", "sha512")
_POM, _XSI = "http://maven.apache.org/POM/4.0.0", "http://www.w3.org/2001/XMLSchema-instance"
_POM_SCHEMA = "https://maven.apache.org/xsd/maven-4.0.0.xsd"
_LIST = "maven-metadata.xml"
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document can hold, escaped or not (section 2.2)."""
_PREFER_GRADLE = "do_not_remove: published-with-gradle-metadata"
"""Gradle looks for module metadata only where a POM has this comment."""


@dataclass(frozen=True)
class Coordinates:
    """What a build names a package by."""

    group: str
    artifact: str
    version: str

    def file(self, extension: str) -> str:
        """Return a file's place in the repository."""
        return f"{self.folder}/{self.version}/{self.artifact}-{self.version}.{extension}"

    @property
    def folder(self) -> str:
        """The folder of all versions."""
        return f"{self.group.replace('.', '/')}/{self.artifact}"


@dataclass(frozen=True)
class Described:
    """What the POM says for people.

    Attributes:
        title: What it is called.
        description: What it is.
        license: The licence's name.
        author: Who answers for it.
    """

    title: str
    description: str
    license: str
    author: str


def publication_files(coordinates: Coordinates, packaging: str) -> list[str]:
    """Return the places of all files of a publication with one artifact."""
    files = [coordinates.file(extension) for extension in (packaging, "pom", "module")]
    files.append(f"{coordinates.folder}/{_LIST}")
    return [f"{file}{suffix}" for file in files for suffix in ("", *(f".{name}" for name in CHECKSUMS))]


def write_publication(repository: Path, coordinates: Coordinates, described: Described, packaging: str) -> None:
    """Write everything but the artifact, which is there already."""
    artifact = repository / coordinates.file(packaging)
    (repository / coordinates.file("pom")).write_bytes(_pom(coordinates, described, packaging))
    (repository / coordinates.file("module")).write_bytes(_module(coordinates, artifact, packaging))
    (repository / coordinates.folder / _LIST).write_bytes(_versions(coordinates))
    for place in publication_files(coordinates, packaging):
        name, _, suffix = place.rpartition(".")
        if suffix in CHECKSUMS:
            (repository / place).write_text(_digest(repository / name, suffix), encoding="ascii")


def _pom(coordinates: Coordinates, described: Described, packaging: str) -> bytes:
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<project xmlns="{_POM}" xmlns:xsi="{_XSI}" xsi:schemaLocation="{_POM} {_POM_SCHEMA}">',
        f"  <!-- {_PREFER_GRADLE} -->",
        "  <modelVersion>4.0.0</modelVersion>",
        *_elements(coordinates, 1),
        f"  <packaging>{packaging}</packaging>",
        f"  <name>{_text(described.title)}</name>",
    ]
    if described.description:
        lines.append(f"  <description>{_text(described.description)}</description>")
    if described.license:
        lines.append(f"  <licenses><license><name>{_text(described.license)}</name></license></licenses>")
    if described.author:
        lines.append(f"  <developers><developer><name>{_text(described.author)}</name></developer></developers>")
    return _document([*lines, "</project>"])


def _versions(coordinates: Coordinates) -> bytes:
    """Return the list of versions, this one. Without `lastUpdated`, which the schema lets out: it would be another each time."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<metadata>",
        f"  <groupId>{_text(coordinates.group)}</groupId>",
        f"  <artifactId>{_text(coordinates.artifact)}</artifactId>",
        "  <versioning>",
        *(f"    <{name}>{_text(coordinates.version)}</{name}>" for name in ("latest", "release")),
        "    <versions>",
        f"      <version>{_text(coordinates.version)}</version>",
        "    </versions>",
        "  </versioning>",
        "</metadata>",
    ]
    return _document(lines)


def _module(coordinates: Coordinates, artifact: Path, packaging: str) -> bytes:
    """Return the module metadata, with the attributes that the Android Gradle plugin publishes and asks for."""
    file = {
        "name": artifact.name,
        "url": artifact.name,
        "size": artifact.stat().st_size,
        **{name: _digest(artifact, name) for name in reversed(CHECKSUMS)},
    }
    common = {
        "org.gradle.category": "library",
        "org.gradle.dependency.bundling": "external",
        "org.gradle.libraryelements": packaging,
    }
    document: dict[str, Any] = {
        "formatVersion": "1.1",
        "component": {
            "group": coordinates.group,
            "module": coordinates.artifact,
            "version": coordinates.version,
            "attributes": {"org.gradle.status": "release"},
        },
        "variants": [
            {"name": f"release{part}Elements", "attributes": {**common, "org.gradle.usage": usage}, "files": [file]}
            for part, usage in (("Api", "java-api"), ("Runtime", "java-runtime"))
        ],
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def _elements(coordinates: Coordinates, depth: int) -> list[str]:
    named = {"groupId": coordinates.group, "artifactId": coordinates.artifact, "version": coordinates.version}
    return [f"{'  ' * depth}<{name}>{_text(value)}</{name}>" for name, value in named.items()]


def _text(text: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", text))


def _document(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


def _digest(file: Path, name: str) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()
