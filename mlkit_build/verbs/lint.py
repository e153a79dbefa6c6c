"""`mlkit-build lint FILE.tflite`: what ML Kit will say of a finished model by anyone."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from mlkit_build.bounded import MODEL_BYTES, read_whole
from mlkit_build.config.roots import Roots
from mlkit_build.errors import ExitCode, SourceError
from mlkit_build.mlkit.contract import ERROR, Finding, lint
from mlkit_build.recipe import ML_KIT_RUNTIME, TARGETS
from mlkit_build.report.lint import as_json, sarif, text


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Print what is wrong with each file; a file that cannot be read hides none of the others."""
    parser = argparse.ArgumentParser(
        prog="mlkit-build lint",
        description="Check finished models against the rules of ML Kit, with its own error messages and what mends them.",
        epilog="exit codes: 0 nothing but warnings; 4 an error; 2 a file that cannot be read",
    )
    parser.add_argument("files", nargs="+", metavar="FILE.tflite", help="a model, or the folder of a bundle")
    parser.add_argument("--target", choices=TARGETS, default="image_labeling", help="what runs it (default: image_labeling)")
    parser.add_argument("--format", choices=("text", "json", "sarif"), default="text", help="how to print (default: text)")
    parser.add_argument(
        "--runtime", metavar="X.Y", help=f"the oldest LiteRT that must run it (default for ML Kit's targets: {ML_KIT_RUNTIME})"
    )
    parsed = parser.parse_args(arguments)
    if parsed.runtime is not None:
        _check_runtime(parser, parsed.runtime)
    findings: dict[str, tuple[Finding, ...]] = {}
    unread: dict[str, str] = {}
    for path in (found for given in parsed.files for found in _models(Path(given))):
        try:
            data = read_whole(path, MODEL_BYTES)
        except (OSError, SourceError) as error:
            told = error.message if isinstance(error, SourceError) else f"cannot be read: {error.strerror}"
            unread[str(path)] = told.removeprefix(f"{path}: ")
            print(f"error: {path}: {unread[str(path)]}", file=sys.stderr)
        else:
            findings[str(path)] = lint(data, parsed.target, parsed.runtime)
    if findings or parsed.format != "text":
        print(_printed(findings, unread, parsed.format, parsed.target))
    broken = any(each.rule.severity == ERROR for found in findings.values() for each in found)
    return ExitCode.CONFIG if unread else ExitCode.VERIFICATION if broken else ExitCode.OK


def _check_runtime(parser: argparse.ArgumentParser, runtime: str) -> None:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4}){1,2}", runtime):
        parser.error(f"--runtime: expected a release like 2.14, found {runtime!r}")


def _models(given: Path) -> list[Path]:
    """Return the models of a folder, or the file itself. Raises SourceError."""
    if not given.is_dir():
        return [given]
    models = sorted(given.glob("*.tflite"))
    if not models:
        raise SourceError(f"{given}: a folder without a .tflite file in it", "name a model, or the folder of a bundle")
    return models


def _printed(findings: dict[str, tuple[Finding, ...]], unread: dict[str, str], form: str, target: str) -> str:
    if form == "sarif":
        from mlkit_build import __version__

        return sarif(findings, __version__, unread)
    return as_json(findings, target, unread) if form == "json" else text(findings)
