"""Rules of the metadata as a whole and of the files behind the model: `ModelMetadataExtractor` of the Task Library."""

from __future__ import annotations

from collections.abc import Iterator

from mlkit_build.mlkit.appended_archive import Entry
from mlkit_build.mlkit.associated_files import DamagedArchiveError
from mlkit_build.mlkit.contract.rule import Broken
from mlkit_build.mlkit.contract.subject import Subject
from mlkit_build.mlkit.metadata_schema import IDENTIFIER
from mlkit_build.mlkit.stated_schema import AXIS_LABELS, CALIBRATION, SCORE_CALIBRATION, Tensor

_SHOWN = 3
_BOM = b"\xef\xbb\xbf"


def identifier(subject: Subject) -> Broken | None:
    found = subject.file.identifier if subject.file else None
    return None if found in (None, "", IDENTIFIER.decode()) else Broken(repr(found), (found,))


def readable(subject: Subject) -> Broken | None:
    file = subject.file
    if file is None or (file.identifier is not None and file.identifier not in ("", IDENTIFIER.decode())):
        return None
    if file.damage:
        return Broken(f"metadata that are damaged: {file.damage}")
    if file.stated and file.stated.graphs == ():
        return Broken("an empty list of subgraphs")
    return None


def archive(subject: Subject) -> Broken | None:
    if subject.file is None or subject.file.stated is None:
        return None
    try:
        there = {entry.name for entry in subject.file.entries if entry.stored}
        for _, _, name in _label_files(subject):
            if name in there:
                subject.file.content(name)
    except DamagedArchiveError as error:
        return Broken(str(error))
    return None


def stored(subject: Subject) -> Broken | None:
    if subject.file is None or subject.file.stated is None:
        return None
    packed = [entry.name for entry in _entries(subject) if not entry.stored]
    return Broken(f"{_listed(packed)} compressed") if packed else None


def label_file(subject: Subject) -> Broken | None:
    if archive(subject) or stored(subject):
        return None
    there = {entry.name for entry in _entries(subject)}
    for _, _, name in _label_files(subject):
        if name not in there:
            return Broken(f"no {name}" if there else "no files behind the model", (name,))
    return None


def labels_empty(subject: Subject) -> Broken | None:
    for _, name, data in _labels(subject):
        if not data:
            return Broken(f"an empty {name}")
    return None


def label_count(subject: Subject) -> Broken | None:
    for index, name, data in _labels(subject):
        sizes = subject.outputs[index].shape if index < len(subject.outputs) else ()
        count = len(_lines(data))
        if data and sizes and sizes[-1] != count:
            return Broken(f"{count} labels in {name} for {sizes[-1]} classes", (sizes[-1], index, count))
    return None


def label_encoding(subject: Subject) -> Broken | None:
    for _, name, data in _labels(subject):
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            return Broken(f"byte {error.start} of {name} that is not")
    return None


def label_text(subject: Subject) -> Broken | None:
    found = []
    for _, name, data in _labels(subject):
        lines = _lines(data)
        if data.startswith(_BOM):
            found.append(f"a byte order mark in {name}")
        if any(line.endswith(b"\r") for line in lines):
            found.append(f"carriage returns in {name}")
        blank = [number for number, line in enumerate(lines, 1) if not line.strip()]
        if blank and data:
            found.append(f"the blank line {blank[0]} of {name}")
    return Broken(", ".join(found)) if found else None


def label_repeated(subject: Subject) -> Broken | None:
    for _, name, data in _labels(subject):
        twice = [repr(line.strip().decode("utf-8", "replace")) for line in _repeated(_lines(data))]
        if twice:
            return Broken(f"{_listed(twice)} twice in {name}")
    return None


def label_locales(subject: Subject) -> Broken | None:
    """A locale's file is read only for an app that asks for that locale; the first one is what the classes are called."""
    for _, told in _outputs(subject):
        names = [file.name for file in told.files if file.type == AXIS_LABELS and file.name]
        counts = [len(_lines(data)) for name in names if (data := _content(subject, name)) is not None]
        for name, count in zip(names[1:], counts[1:], strict=False):
            if count != counts[0]:
                return Broken(f"{count} labels in {name}, {counts[0]} in {names[0]}", (counts[0], count))
    return None


def labelled(subject: Subject) -> Broken | None:
    if subject.file is None or not subject.outputs:
        return None
    return None if any(True for _ in _label_files(subject)) else Broken("no labels")


def calibration(subject: Subject) -> Broken | None:
    for _, told in _outputs(subject):
        if any(unit.options[0] == CALIBRATION for unit in told.units):
            broken = _calibration(subject, told)
            if broken is not None:
                return broken
    return None


def _calibration(subject: Subject, told: Tensor) -> Broken | None:
    labels, scores = (
        next((file.name for file in told.files if file.type == kind and file.name), None)
        for kind in (AXIS_LABELS, SCORE_CALIBRATION)
    )
    if labels is None:
        return Broken("ScoreCalibrationOptions without labels", says=0)
    if scores is None:
        return Broken("ScoreCalibrationOptions without their file", says=1)
    classes, lines = _content(subject, labels), _content(subject, scores)
    if classes is None:
        return None  # the label file is missing, which is another rule's
    if lines is None:
        return Broken(f"no {scores}", (scores,), says=2)
    counts = len(_lines(classes)), lines.count(b"\n") + 1
    if counts[0] != counts[1]:
        return Broken(f"{counts[1]} lines in {scores} for {counts[0]} labels", counts, says=3)
    return None


def _outputs(subject: Subject) -> Iterator[tuple[int, Tensor]]:
    stated = subject.stated
    yield from enumerate((stated.outputs or ()) if stated else ())


def _label_files(subject: Subject) -> Iterator[tuple[int, Tensor, str]]:
    """Yield the file that an output's classes are called by: the first of its kind, whatever its locale."""
    for index, told in _outputs(subject):
        name = next((file.name for file in told.files if file.type == AXIS_LABELS and file.name), None)
        if name is not None:
            yield index, told, name


def _labels(subject: Subject) -> Iterator[tuple[int, str, bytes]]:
    for index, _, name in _label_files(subject):
        data = _content(subject, name)
        if data is not None:
            yield index, name, data


def _entries(subject: Subject) -> tuple[Entry, ...]:
    try:
        return subject.file.entries if subject.file else ()
    except DamagedArchiveError:
        return ()


def _content(subject: Subject, name: str) -> bytes | None:
    """Return a file behind the model; None where it cannot be had, which rules of their own tell."""
    assert subject.file is not None
    try:
        return subject.file.content(name)
    except DamagedArchiveError:
        return None


def _lines(data: bytes) -> list[bytes]:
    """Return the labels as the Task Library splits them: one newline at the end ends the last one."""
    return data.removesuffix(b"\n").split(b"\n")


def _repeated(lines: list[bytes]) -> list[bytes]:
    seen: set[bytes] = set()
    repeated: dict[bytes, None] = {}
    for line in lines:
        if line.strip() and line in seen:
            repeated[line] = None
        seen.add(line)
    return list(repeated)


def _listed(names: list[str]) -> str:
    shown = [name if len(name) <= 60 else f"{name[:57]}..." for name in names[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
