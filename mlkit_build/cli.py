"""From the command line to an exit code: a verb, a build, or a sweep; and the one place where errors end.

Nothing heavy is imported here: Hydra only when something is composed, TensorFlow never.
"""

from __future__ import annotations

import gc
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from mlkit_build.errors import ConfigError, ExitCode, MlkitBuildError, did_you_mean
from mlkit_build.printable import shown_lines

if TYPE_CHECKING:
    from mlkit_build.config import Roots
    from mlkit_build.job import JobReport

PYTHON_TOO_NEW = (3, 14)
_SWEEP_FLAGS = ("-m", "--multirun")
_LAUNCHER = re.compile(r"[+~]*hydra([/.]launcher\b|\.sweep\.)")
"""What a sweep of ours takes of Hydra's own settings: who runs the jobs. With others, e.g. a sweeper, Hydra runs the sweep."""


def main() -> None:
    """The console script."""
    # Composing makes many objects that stay: looking them through again and again was a tenth of its time.
    gc.set_threshold(100_000)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal has no letters for is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    _leave(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say and return the exit code. Raises nothing that a user can cause."""
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        code = int(_dispatch(list(arguments)))
        sys.stdout.flush()
        return code
    except MlkitBuildError as error:
        print(f"error: {error.message}", file=sys.stderr)
        for title, text in (("hint", error.hint), ("log", error.log)):
            if text:
                print(f"{title}: {text}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; nothing was left half-written", file=sys.stderr)
        return int(ExitCode.INTERRUPTED)
    except SystemExit as error:  # a verb's argument parser has said what it had to say
        return error.code if isinstance(error.code, int) else int(ExitCode.CONFIG)
    except BrokenPipeError:
        sys.stderr.close()
        return int(ExitCode.STAGE_FAILED)
    except OSError as error:  # for instance a full disk behind a redirected output
        print(shown_lines(f"error: {error.filename or 'output'}: {error.strerror or error}"), file=sys.stderr)
        return int(ExitCode.STAGE_FAILED)


def _leave(code: int) -> NoReturn:
    """End the process at once: freeing every object one by one was a tenth of a build with nothing to do.

    Where others have processes to take leave of, as launchers of Hydra do, it ends in the usual way.
    """
    if "multiprocessing.process" in sys.modules or threading.active_count() > 1:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _dispatch(arguments: list[str]) -> ExitCode:
    if sys.version_info >= PYTHON_TOO_NEW:
        raise ConfigError(
            f"Python: expected 3.11, 3.12 or 3.13, found {sys.version.split()[0]}",
            "Hydra 1.3 does not run on Python 3.14",
        )
    extra, arguments = _extra_roots(arguments)
    if "--version" in arguments:
        from mlkit_build import __version__

        print(f"mlkit-build {__version__}")
        return ExitCode.OK
    from mlkit_build.config.roots import Roots

    roots = Roots.find(extra)
    first = arguments[0] if arguments else "--help"
    if first == "help" or ("=" in first and {"--help", "-h"} & set(arguments)) or first in ("--help", "-h"):
        from mlkit_build.help import page

        print(page(roots))
        return ExitCode.OK
    if not first.startswith(("-", "~")) and "=" not in first:
        return _verb(first, arguments[1:], roots)
    sweep = any(flag in arguments for flag in _SWEEP_FLAGS)
    rest = [argument for argument in arguments if argument not in _SWEEP_FLAGS]
    hydra = [argument for argument in rest if argument.lstrip("+~").startswith("hydra")]
    launches = sweep and all(_LAUNCHER.match(argument) for argument in hydra)
    if any(argument.startswith("-") for argument in rest) or (hydra and not launches):
        return _hydra(arguments, roots)
    return _sweep([argument for argument in rest if argument not in hydra], roots, hydra) if sweep else _build(rest, roots)


def _verb(name: str, arguments: list[str], roots: Roots) -> ExitCode:
    from mlkit_build.verbs import VERBS

    if name not in VERBS:
        recipe = roots.recipe(name)
        hint = f"to build the recipe, run `mlkit-build recipe={name}`" if recipe else did_you_mean(name, list(VERBS))
        raise ConfigError(f"{name}: no such verb; known verbs: {', '.join(VERBS)}", hint)
    code: ExitCode = import_module(VERBS[name].module).run(arguments, roots)
    return code


def _build(overrides: list[str], roots: Roots) -> ExitCode:
    """Build one job."""
    from mlkit_build.config import compose
    from mlkit_build.engine.pool import Pool
    from mlkit_build.job import refuse_select, refused
    from mlkit_build.report.documents import Documents
    from mlkit_build.report.screens import screen
    from mlkit_build.workflow import build

    try:
        job = compose(overrides, roots)
        refuse_select(job.settings.select)
        documents = Documents.of(job.settings)
    except MlkitBuildError as error:
        Documents.stated(overrides).write([refused(error, overrides)])
        if "ui=json" not in overrides:
            raise
        return _refused_job(error).exit_code
    pool = Pool()
    try:
        report = build(job, pool, screen(job.settings.ui), sys.argv)
    finally:
        pool.close()
    documents.write([report])
    return report.exit_code


def _sweep(overrides: list[str], roots: Roots, launcher: Sequence[str] = ()) -> ExitCode:
    """Build every job of a sweep, here or with a launcher of Hydra; each becomes a row."""
    from mlkit_build.report.documents import Documents
    from mlkit_build.sweep.run import sweep

    documents = Documents.stated(overrides, strict=True)
    if not launcher:
        outcome = sweep(overrides, roots, sys.argv)
    else:
        from mlkit_build.config.launcher import launching

        outcome = sweep(overrides, roots, sys.argv, launching(launcher, roots))
    documents.write([row.report for row in outcome.rows])
    return outcome.exit_code


def _refused_job(error: MlkitBuildError) -> JobReport:
    from mlkit_build.job import refused
    from mlkit_build.report.screens import Json

    report = refused(error, sys.argv[1:])
    Json().job_finished(report)
    return report


def _hydra(arguments: list[str], roots: Roots) -> ExitCode:
    """Hand over to Hydra: `--cfg`, `--info`, completion, and sweeps with a launcher or sweeper of the user's choice."""
    from mlkit_build.config.app import run_app

    return run_app(arguments, roots)


def _extra_roots(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Take `--root DIR` out of the arguments."""
    roots: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--root":
            folder = next(waiting, None)
            if folder is None:
                raise ConfigError("--root: expected a folder after it, found nothing")
            roots.append(folder)
        elif argument.startswith("--root="):
            roots.append(argument.removeprefix("--root="))
        else:
            rest.append(argument)
    return roots, rest


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
