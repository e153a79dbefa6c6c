"""`mlkit-build diff A B`: what differs between two bundles or models, without running either."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlkit_build.comparison import compare, read
from mlkit_build.config.roots import Roots
from mlkit_build.errors import ConfigError, ExitCode, MlkitBuildError
from mlkit_build.report import comparison as report
from mlkit_build.report.documents import replace_file
from mlkit_build.verbs import VERBS


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Print what differs. Answers with 0 whatever that is, unless `--exit-code` asks for 4 where the bytes differ."""
    verb = VERBS["diff"]
    parser = argparse.ArgumentParser(
        prog="mlkit-build diff",
        description=f"{verb.summary[0].upper()}{verb.summary[1:]}.",
        epilog="exit codes: 0 compared; 2 one cannot be read; with --exit-code 4 where they differ",
    )
    for letter in "AB":
        parser.add_argument(letter, help="a bundle's folder, manifest.json, zip or tar archive or URL, or a .tflite file")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page for a pull request, too")
    parser.add_argument(
        "--exit-code", action="store_true", help="answer with 4 where they differ, as `git diff --exit-code` with 1"
    )
    parsed = parser.parse_args(arguments)
    if parsed.html is not None and parsed.html.is_dir():
        raise ConfigError(f"--html: expected a file, found the folder {parsed.html}", f"e.g. --html {parsed.html / 'diff.html'}")
    try:
        found = compare(read(parsed.A), read(parsed.B))
    except MlkitBuildError as error:
        raise type(error)(f"diff: {error.message}", error.hint) from error
    if parsed.html is not None:
        replace_file("--html", parsed.html, report.page(found).encode("utf-8"))
    print(report.as_json(found) if parsed.json else report.text(found))
    return ExitCode.VERIFICATION if parsed.exit_code and not found.identical else ExitCode.OK
