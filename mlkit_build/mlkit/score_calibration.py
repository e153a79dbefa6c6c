"""Score calibration: the file of its parameters, and what it makes of scores.

Both as the Task Library has them (`score_calibration.cc` in tensorflow/tflite-support).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlkit_build.bounded import TEXT_BYTES, read_whole
from mlkit_build.errors import SourceError
from mlkit_build.mlkit.associated_files import DamagedArchiveError
from mlkit_build.recipe.label_checks import TRANSFORMATIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlkit_build.mlkit.description import ScoreCalibration

_LEAST = 1e-16
"""Below it a logarithm is continued by one that mirrors it."""


def read_calibration(
    path: Path, labels: tuple[str, ...], field: str = "metadata.score_calibration"
) -> tuple[tuple[float, ...], ...]:
    """Return the parameters of each class from a CSV file of the user: a line per class, in the order of the labels.

    Args:
        field: What names the file.

    Raises:
        SourceError: The file cannot be read, a line is none of them, or it has another number of lines than there are labels.
    """
    where = f"{field}: {path}"
    try:
        text = read_whole(path, TEXT_BYTES, where).decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"{where}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}: expected UTF-8 text, found byte {error.start} that is not") from error
    lines = text.replace("\r\n", "\n").removesuffix("\n")
    try:
        found = parsed(lines)
    except DamagedArchiveError as error:
        raise SourceError(f"{where}: {error}", "a line is `scale,slope,offset`, with `,min_score` behind it, or empty") from error
    classes = len(labels)
    if len(found) != classes:
        raise SourceError(
            f"{where}: expected {classes} lines, one for each label, found {len(found)}; in the app ML Kit would say: Mismatch "
            f"between number of labels ({classes}) and score calibration parameters ({len(found)}).",
            "leave the line of a class empty that gets the default score",
        )
    by_name: dict[str, tuple[float, ...]] = {}
    for label, values in zip(labels, found, strict=True):
        if by_name.setdefault(label, values) != values:
            raise SourceError(
                f"{where}: the label {label[:40]!r} is there more than once, with other parameters each time; the Task Library "
                "looks them up by name, and the last ones would count for all",
                "give such classes labels of their own, or the same parameters",
            )
    if not any(found):
        raise SourceError(f"{where}: expected parameters, found empty lines", f"leave {field} out")
    return found


def parsed(text: str) -> tuple[tuple[float, ...], ...]:
    """Return the parameters of each class, in order. Unlike in label files, a newline at the end begins a class.

    Raises:
        DamagedArchiveError: A line is malformed; says so in the Task Library's words.
    """
    if not text:
        raise DamagedArchiveError("Expected non-empty score calibration file.")
    return tuple(_line(number, line) for number, line in enumerate(text.split("\n"), 1))


def printed(classes: tuple[tuple[float, ...], ...]) -> bytes:
    """Return the file as the Task Library reads it."""
    return "\n".join(",".join(repr(value) for value in values) for values in classes).encode()


def calibrated(scores: NDArray[Any], calibration: ScoreCalibration) -> NDArray[Any]:
    """Return the scores as the app shows them: `[..., classes]` float64 from as many."""
    import numpy as np

    known = np.array([bool(values) for values in calibration.classes])
    rows = [(*values, -math.inf)[:4] if values else (0.0, 0.0, 0.0, math.inf) for values in calibration.classes]
    scale, slope, offset, least = np.array(rows, np.float64).T
    given = scores.astype(np.float64)
    moved = slope * _transformed(given, TRANSFORMATIONS[calibration.transformation]) + offset
    with np.errstate(over="ignore"):
        fitted = scale / (1 + np.exp(-moved))
    found: NDArray[Any] = np.where(known & (given >= least), fitted, calibration.default_score)
    return found


def _transformed(scores: NDArray[Any], name: str) -> NDArray[Any]:
    if name == "identity":
        return scores
    return _log(scores) if name == "log" else _log(scores) - _log(1 - scores)


def _log(scores: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    near = np.maximum(scores, _LEAST)
    mirrored = 2 * np.log(_LEAST) - np.log(np.maximum(2 * _LEAST - scores, _LEAST))
    found: NDArray[Any] = np.where(scores < _LEAST, mirrored, np.log(near))
    return found


def _line(number: int, line: str) -> tuple[float, ...]:
    if not line:
        return ()
    fields = line.split(",")
    if len(fields) not in (3, 4):
        raise DamagedArchiveError(
            f"line {number}: Expected 3 or 4 parameters per line in score calibration file, got {len(fields)}."
        )
    values = []
    for field in fields:
        try:
            value = float(field)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or "_" in field:
            raise DamagedArchiveError(
                f"line {number}: Could not parse score calibration parameter as float: {field.strip()[:40]}."
            )
        values.append(value)
    return tuple(values)
