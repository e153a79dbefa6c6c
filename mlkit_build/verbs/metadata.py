"""`mlkit-build metadata FILE --output OUT`: what ML Kit wants to know of a model, attached to any `.tflite`."""

from __future__ import annotations

import argparse
import math
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from mlkit_build.bounded import MODEL_BYTES, read_whole
from mlkit_build.config.roots import Roots
from mlkit_build.errors import ConfigError, ExitCode, SourceError, StoreError, did_you_mean
from mlkit_build.mlkit.amending import EXISTING, Amended, amended
from mlkit_build.mlkit.associated_files import listed
from mlkit_build.mlkit.description import Metadata, ScoreCalibration, Tensor, image_tensor
from mlkit_build.mlkit.flatbuffer import DamagedError
from mlkit_build.mlkit.labels import LabelSet, check_equal_counts, read_column, read_labels, repeated
from mlkit_build.mlkit.metadata_schema import ScoreTransformation
from mlkit_build.mlkit.model_entry import End, ends
from mlkit_build.mlkit.score_calibration import read_calibration
from mlkit_build.recipe.float32 import check_float32, check_scaling
from mlkit_build.recipe.label_checks import TRANSFORMATIONS, check_locale, check_threshold


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Attach what the arguments say, write the result, and say what was kept or dropped."""
    parsed = _parser().parse_args(arguments)
    _check_told(parsed)
    model = _model(parsed.file)
    try:
        inputs, outputs = ends(model)
    except DamagedError as error:
        raise SourceError(f"{parsed.file}: the model is damaged: {error}") from error
    if not inputs or not outputs:
        raise SourceError(f"{parsed.file}: expected a model with inputs and outputs, found {len(inputs)} and {len(outputs)}")
    asked = _asked(parsed, inputs, outputs)
    done = amended(model, asked, parsed.existing)
    _write(parsed.output, done.model)
    _tell(parsed, done, asked, inputs)
    return ExitCode.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlkit-build metadata",
        description="Attach to a .tflite what ML Kit wants to know of it. The model itself stays what it is.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a .tflite by anyone")
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="OUT", help="the file with its metadata")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where there is such a file")
    parser.add_argument(
        "--existing", choices=EXISTING, default="refuse",
        help="what becomes of metadata and files that FILE has already: an error, add only what is missing, or drop them",
    )  # fmt: skip
    image = parser.add_argument_group("the image")
    image.add_argument("--mean", type=_numbers, default=(), metavar="M[,M,M]", help="(pixel - mean) / std, pixels in 0..255")
    image.add_argument(
        "--std", type=_numbers, default=(), metavar="S[,S,S]", help="as in training; 127.5 for -1..1, 255 for 0..1"
    )
    image.add_argument("--input", metavar="NAME", help="which input is the image, where there are several")
    scores = parser.add_argument_group("the scores")
    scores.add_argument("--labels", type=Path, metavar="FILE", help="one class per line, in the order of the outputs")
    scores.add_argument("--labels-column", metavar="NAME", help="the column, where --labels is a CSV file")
    scores.add_argument(
        "--locale", action="append", default=[], metavar="LANG=FILE", help="labels in another language, e.g. de=labels.de.txt"
    )
    scores.add_argument("--score-threshold", type=float, metavar="X", help="show nothing below this score")
    scores.add_argument("--score-calibration", type=Path, metavar="FILE", help="scale,slope,offset[,min_score] per label")
    scores.add_argument("--score-transformation", choices=TRANSFORMATIONS, default="identity", help="before the calibration")
    scores.add_argument("--default-score", type=float, default=0.0, metavar="X", help="what a score below min_score becomes")
    scores.add_argument("--scores", metavar="NAME", help="which output has the scores (default: the first one)")
    texts = parser.add_argument_group("the model")
    for name, what in _TEXTS.items():
        texts.add_argument(f"--{name}", default="", metavar="TEXT", help=what)
    return parser


_TEXTS = {
    "name": "what it is called (default: the name of FILE)",
    "description": "what it is",
    "model-version": "e.g. 1.0.0",
    "author": "who answers for it",
    "license": "its licence, as an SPDX identifier",
}


def _asked(parsed: argparse.Namespace, inputs: tuple[End, ...], outputs: tuple[End, ...]) -> Metadata:
    """Return what the arguments say, with a tensor for every end of the model. Raises ConfigError, SourceError."""
    image = _chosen("--input", parsed.input, inputs) if parsed.input or len(inputs) == 1 else None
    if image is None and (parsed.mean or parsed.std):
        raise ConfigError(f"--mean: the model has {len(inputs)} inputs; expected to know which is the image", "add --input NAME")
    if image is not None:
        _check_normalization(parsed, inputs[image])
    scores = _chosen("--scores", parsed.scores, outputs) if parsed.scores else 0
    return Metadata(
        name=parsed.name or os.fsencode(parsed.file.stem).decode(errors="replace"),
        description=parsed.description,
        version=parsed.model_version,
        author=parsed.author,
        license=parsed.license,
        inputs=tuple(
            image_tensor(_name(end), end.shape, end.dtype, parsed.mean, parsed.std)
            if index == image and (parsed.mean or _is_image(end))
            else Tensor(_name(end))
            for index, end in enumerate(inputs)
        ),
        outputs=tuple(_scored(parsed, end) if index == scores else Tensor(_name(end)) for index, end in enumerate(outputs)),
    )


def _scored(parsed: argparse.Namespace, end: End) -> Tensor:
    """Return what is said of the scores. Raises ConfigError, SourceError."""
    check_threshold("--score-threshold", parsed.score_threshold)
    labels = _labels(parsed)
    classes = end.shape[-1] if end.shape else 0
    if labels.names and len(labels.names) != classes:
        raise ConfigError(
            f"--labels: {parsed.labels}: expected {classes} labels, one for each class of the output {_name(end)!r}, found "
            f"{len(labels.names)}; in the app ML Kit would say: Got {classes} class(es) for output index 0, expected "
            f"{len(labels.names)} according to the label map.",
            "each line is a class, in the order of the model's outputs",
        )
    calibration = None
    if parsed.score_calibration is not None:
        if not labels.names:
            raise ConfigError("--score-calibration: expected labels, found none", "add --labels FILE")
        check_float32("--default-score", parsed.default_score)
        calibration = ScoreCalibration(
            read_calibration(parsed.score_calibration, labels.names, "--score-calibration"),
            ScoreTransformation[parsed.score_transformation.upper()],
            parsed.default_score,
        )
    return Tensor(
        _name(end),
        labels=labels.names,
        locales=labels.locales,
        score_threshold=parsed.score_threshold,
        score_calibration=calibration,
    )


def _labels(parsed: argparse.Namespace) -> LabelSet:
    """Return the labels in every language; none where no file is named. Raises ConfigError, SourceError."""
    if parsed.labels is None:
        if parsed.locale or parsed.labels_column:
            raise ConfigError("--labels: expected a file of labels, found none", "add --labels FILE")
        return LabelSet(())
    column = parsed.labels_column
    names = read_column(parsed.labels, column, where="--labels") if column else read_labels(parsed.labels, "--labels")
    locales: dict[str, tuple[str, ...]] = {}
    for stated in parsed.locale:
        locale, equals, path = stated.partition("=")
        if not equals or not path:
            raise ConfigError(f"--locale: expected LANG=FILE, found {stated!r}", "e.g. --locale de=labels.de.txt")
        check_locale("--locale", locale)
        if locale in locales:
            raise ConfigError(f"--locale: the language {locale!r} is there twice")
        locales[locale] = read_labels(Path(path), f"--locale {locale}")
        check_equal_counts(names, locales[locale], f"--locale {locale}: {path}")
    return LabelSet(names, locales)


def _chosen(option: str, name: str | None, found: tuple[End, ...]) -> int:
    """Return which end of the model is meant. Raises ConfigError."""
    names = [_name(end) for end in found]
    if name is None:
        return 0
    if name not in names:
        raise ConfigError(f"{option}: expected one of {', '.join(names)}, found {name!r}", did_you_mean(name, names))
    return names.index(name)


def _check_normalization(parsed: argparse.Namespace, end: End) -> None:
    """Refuse mean and std that ML Kit would refuse. Raises ConfigError."""
    if not parsed.mean and not parsed.std:
        return
    if not _is_image(end):
        raise ConfigError(
            f"--mean: expected an image [1, height, width, 3], found the input {_name(end)!r} {list(end.shape)}",
            "mean and std are those of pixels",
        )
    for option, values in (("--mean", parsed.mean), ("--std", parsed.std)):
        if len(values) not in (1, 3):
            raise ConfigError(
                f"{option}: expected 1 or 3 values, found {len(values)}; in the app ML Kit would say: NormalizationOptions: only "
                f"1 or 3 mean and std values are supported, got {len(values)}.",
                "state mean and std, e.g. --mean 127.5 --std 127.5",
            )
    if len(parsed.mean) > 1 < len(parsed.std) and end.shape[-1] == 1:
        raise ConfigError(f"--mean: expected 1 value for the grey image {_name(end)!r}, found {len(parsed.mean)}")
    check_scaling(("--mean", "--std"), parsed.mean, parsed.std)


def _is_image(end: End) -> bool:
    return len(end.shape) == 4 and end.shape[-1] in (1, 3)


def _name(end: End) -> str:
    return end.name or end.tensor


def _model(path: Path) -> bytes:
    """Return the file. Raises SourceError."""
    try:
        return read_whole(path, MODEL_BYTES)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}", "expected a .tflite file") from error


def _check_told(parsed: argparse.Namespace) -> None:
    """Refuse a file that could not, or should not, be written, and texts that no file could hold. Raises ConfigError."""
    place: Path = parsed.output
    if place.is_dir():
        raise ConfigError(f"--output: expected a file, found the folder {place}", f"e.g. --output {place / parsed.file.name}")
    if not place.absolute().parent.is_dir():
        raise ConfigError(f"--output: expected a file in a folder that exists, found {place}", "make the folder first")
    if os.path.lexists(place) and not parsed.overwrite:
        raise ConfigError(f"--output: {place} exists", "name another file, or add --overwrite")
    if place.exists() and not place.is_file():
        raise ConfigError(f"--output: expected a file, found {place}, which is no regular file", "name another file")
    for name in _TEXTS:
        text = getattr(parsed, name.replace("-", "_"))
        if not _is_unicode(text):
            raise ConfigError(f"--{name}: expected text in UTF-8, found {text!r}")


def _is_unicode(text: str) -> bool:
    """Return whether a text of the command line was one: Python keeps other bytes as surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _write(place: Path, data: bytes) -> None:
    """Write a file, whole or not at all. One that is replaced hands on its permissions. Raises StoreError."""
    temporary = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
    try:
        try:
            with temporary.open("xb") as file:  # with the permissions that the user's umask leaves
                file.write(data)
            with suppress(FileNotFoundError):
                temporary.chmod(stat.S_IMODE(place.stat().st_mode))
            temporary.replace(place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(f"--output: {place}: cannot be written: {error.strerror or error}", "name a file elsewhere") from error


def _tell(parsed: argparse.Namespace, done: Amended, asked: Metadata, inputs: tuple[End, ...]) -> None:
    print(f"{parsed.output}: {len(done.model)} bytes")
    for word in done.kept:
        if word == "name" and not parsed.name:  # nobody asked for that of the file
            continue
        print(f"  kept what the file says already: {word}")
    now = ("metadata", *listed(done.model))
    for what, words in (
        ("replaced", [word for word in done.dropped if word in now]),
        ("dropped", [word for word in done.dropped if word not in now]),
    ):
        if words:
            print(f"  {what}: {', '.join(words)}")
    twice = next((told for tensor in asked.outputs if (told := repeated(tensor.labels))), "")
    if twice:
        print(f"warning: --labels: {twice}")
    if any(end.dtype == "float32" and _is_image(end) for end in inputs) and not parsed.mean and parsed.existing != "keep":
        print("warning: a float32 image without --mean and --std is refused by ML Kit, and its metadata then want them")


def _numbers(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(math.isfinite(value) for value in values):
        raise argparse.ArgumentTypeError(f"expected numbers with commas between them, found {text!r}")
    return values
