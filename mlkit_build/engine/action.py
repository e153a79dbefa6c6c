"""The engine's words: an action, the decision about it, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlkit_build.changes import Change
from mlkit_build.records import dataclass
from mlkit_build.store import Digest, Record, Tree


@dataclass(frozen=True)
class OutputOf:
    """An input that another action produces."""

    action: str
    file: str


@dataclass(frozen=True)
class Action:
    """One cacheable step: a pure function from (params, input files) to output files.

    Attributes:
        name: Unique within a build.
        stage: The stage it belongs to.
        version: Raised whenever the function's results change for equal inputs.
        runtime: What its process imports, and so whose versions are in its key: `tensorflow`, `litert`, `quantizer`,
            `jinja2`, or `python` (none of them).
        function: `module:function`, called as `function(params, inputs, outputs)` with the params as plain values, the
            inputs as paths by name, and the folder to write outputs to.
        params: Everything but files that decides the result, as plain values.
        inputs: Name -> a file or some files of a folder of the user, or an output of another action. The function is given
            the path of the folder.
        outputs: Names of the files it writes.
        after: Actions that must have succeeded first, though nothing of theirs decides this result.
        packages: Others whose versions decide the result: what decodes samples.
        timeout_s: How long it may take, in seconds, where it runs code of the user.
        alone: Whether nothing else of the run may run beside it, because it measures time.
        timeout_field: The recipe's field that says so.
    """

    name: str
    stage: str
    version: int
    runtime: str
    function: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Path | Tree | OutputOf]
    outputs: tuple[str, ...]
    after: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    timeout_s: float | None = None
    alone: bool = False
    timeout_field: str = "source.timeout_s"

    @property
    def needs(self) -> tuple[str, ...]:
        """The actions that must be done before this one."""
        sources = [item.action for item in self.inputs.values() if isinstance(item, OutputOf)]
        return tuple(dict.fromkeys([*sources, *self.after]))


@dataclass(frozen=True)
class Decision:
    """Whether an action must run, and why.

    Attributes:
        key: Its key; empty while an input is not known yet.
        document: Its key document.
        record: What to reuse; None on a miss.
        reason: The decision in a few words.
        changes: All that differs from the nearest earlier record; of what waits, as far as it is known.
    """

    action: Action
    key: str
    document: Mapping[str, Any]
    record: Record | None
    reason: str
    changes: tuple[Change, ...] = ()

    @property
    def hit(self) -> bool:
        """Whether the action need not run."""
        return self.record is not None


@dataclass(frozen=True)
class Result:
    """What came of an action.

    Attributes:
        outputs: File name -> digest, to be fetched from the store.
        cached: Whether it was reused.
        seconds: How long it took in this build.
    """

    action: Action
    key: str
    outputs: Mapping[str, Digest]
    cached: bool
    seconds: float
    reason: str
