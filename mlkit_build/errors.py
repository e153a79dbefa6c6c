"""Every error a user can meet: what happened and where, what to do next, and the exit code that says who must act."""

from __future__ import annotations

import re
from enum import IntEnum
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from mlkit_build.printable import shown_lines

if TYPE_CHECKING:
    from mlkit_build.job import JobReport

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_TOLD = 1000
"""The most characters that are shown of what the user's code says: ten lines. The log has all of it."""
_KERAS = "Exception encountered when calling "


class ExitCode(IntEnum):
    """What the process tells its caller. A sweep answers with the worst of its jobs."""

    OK = 0
    STAGE_FAILED = 1
    CONFIG = 2
    GATE = 3
    VERIFICATION = 4
    INTERRUPTED = 130


class MlkitBuildError(Exception):
    """A failure that is explained in full by its message, its hint and, for a stage, its log.

    Its texts may go into any document and onto any terminal, whatever the names in them.

    Attributes:
        hint: What to do next; empty when the message already says it.
        log: Path of the log file that holds the rest; empty when there is none.
    """

    exit_code = ExitCode.STAGE_FAILED

    def __init__(self, message: str, hint: str = "", *, log: str = "") -> None:
        super().__init__(shown_lines(message))
        self.message = shown_lines(message)
        self.hint = shown_lines(hint)
        self.log = shown_lines(log)

    def __str__(self) -> str:
        lines = [self.message]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        if self.log:
            lines.append(f"log: {self.log}")
        return "\n".join(lines)


class ConfigError(MlkitBuildError):
    """The recipe, a configuration file or an override is wrong: the user edits text."""

    exit_code = ExitCode.CONFIG


class SourceError(MlkitBuildError):
    """A file that the recipe names is missing, damaged or not what the recipe says: the user mends the file or the recipe."""

    exit_code = ExitCode.CONFIG


class StageError(MlkitBuildError):
    """A stage could not do its work on inputs that looked right."""

    exit_code = ExitCode.STAGE_FAILED


class GateError(MlkitBuildError):
    """A measured value broke a limit of the recipe: nothing was packaged.

    Attributes:
        report: What was measured and judged, where `mlkit_build.build` or `export` raised it.
    """

    exit_code = ExitCode.GATE
    report: JobReport | None = None


class StoreError(MlkitBuildError):
    """The cache or the output folder could not be used."""

    exit_code = ExitCode.STAGE_FAILED


class LockError(MlkitBuildError):
    """A build that was to give a locked package would give another one."""

    exit_code = ExitCode.VERIFICATION


def by_name(name: str) -> type[MlkitBuildError]:
    """Return the error class called `name`, so that an error crosses a process boundary as text.

    An unknown name is a `StageError`: whatever broke, a stage did.
    """
    classes: tuple[type[MlkitBuildError], ...] = (ConfigError, SourceError, GateError, StoreError, LockError)
    return {cls.__name__: cls for cls in classes}.get(name, StageError)


def operator_reason(error: Exception) -> str:
    """Return what TensorFlow says of an operator that failed, without where in whose code the operator was made."""
    text = str(error).partition("Node: ")[2] or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Graph execution error", "Detected at", "File ", "[[", "'"))]
    return told[0] if told else type(error).__name__


def words_of(error: BaseException, limit: int = 10) -> str:
    """Return the type and the text of an exception that the user's code raised: its lines, without what frameworks put around.

    AutoGraph puts a traceback before it, Keras the layer that was being called and what with.
    """
    lines = [line.rstrip() for line in _COLOUR.sub("", message_of(error)).splitlines() if line.strip()]
    kind = f"{type(error).__name__}: "
    if lines and lines[0] == "in user code:":
        frames = [index for index, line in enumerate(lines) if line.lstrip().startswith('File "')]
        lines, kind = dedent("\n".join(lines[frames[-1] + 2 :] if frames else lines[1:])).splitlines(), ""
    if lines and _KERAS in lines[0] and len(lines) > 1:
        kind = kind or lines[0].partition(_KERAS)[0]
        end = next((index for index, line in enumerate(lines) if line.startswith("Arguments received by ")), len(lines))
        lines = lines[1:end]
    if not lines:
        return type(error).__name__
    return cut(kind + "\n".join([*lines[:limit], *(["..."] if len(lines) > limit else [])]))


def message_of(error: BaseException) -> str:
    """Return the text of an exception that the user's code raised; empty where its `__str__` raises another."""
    try:
        return str(error)
    except Exception:  # code of the user: anything may come
        return ""


def shown(value: Any) -> str:
    """Return a value of the user's code as its `repr`, or its type where that raises; not all of a long one."""
    try:
        return cut(repr(value))
    except Exception:  # code of the user: anything may come
        return f"a {type(value).__name__}"


def cut(text: str) -> str:
    """Return the beginning of what the user's code says."""
    return text if len(text) <= _TOLD else f"{text[:_TOLD]}..."


def did_you_mean(wrong: str, known: list[str] | tuple[str, ...], limit: int = 3) -> str:
    """Return `did you mean 'x' or 'y'?` for the nearest of `known`, or an empty string when nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(wrong, known, n=limit, cutoff=0.5)
    if not near:
        return ""
    return f"did you mean {' or '.join(repr(name) for name in near)}?"


def expect_one_of(where: str, found: str, known: tuple[str, ...]) -> None:
    """Refuse a value that is none of `known`.

    Raises:
        ConfigError: Names the field and all of them.
    """
    if found not in known:
        raise ConfigError(f"{where}: expected one of {', '.join(known)}, found {found!r}", did_you_mean(found, known))
