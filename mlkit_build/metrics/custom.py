"""A metric of the recipe's own, run as code with the recipe's trust. Its module, and those it imports, are in the key."""

from __future__ import annotations

import math
import re
import shutil
import sys
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np

from mlkit_build.errors import ConfigError, StageError, did_you_mean, shown, words_of
from mlkit_build.metrics import GREATEST, Measurement, Subject, Table, is_known, significant
from mlkit_build.metrics.options import PythonOptions
from mlkit_build.recipe.schema import Python

COPY = "metric_code"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


def files(options: PythonOptions, folder: Path, where: str) -> dict[str, Path]:
    """Return the function's module and the modules of the folder that it imports, by their place there.

    Args:
        where: The metric's field, for messages.

    Raises:
        SourceError: A module is missing, or is not Python.
    """
    from mlkit_build.sources.python import files as of_source

    return of_source(Python(function=options.function), folder, where)


class Custom:
    """Whatever the function's object computes: `update(outputs, reference, labels)` is called with `[n, ...]` arrays in the
    output's shape and with labels as the dataset has them, None without; it may change them. Then `result()` returns
    name -> value, or name -> (value, TensorFlow's value), under names of its own and within 1e300 of 0. It runs in a copy of the
    recipe's folder that holds the function's module and those it imports from there; these are in the key, packages that it
    imports from elsewhere are not.
    """

    def __init__(self, options: PythonOptions, subject: Subject) -> None:
        self._options = options
        self._subject = subject
        self._metric = self._call(lambda: _function(options, subject.code)(**options.arguments))
        for method in ("update", "result"):
            if not callable(getattr(self._metric, method, None)):
                raise ConfigError(
                    f"{self._where}: expected an object with update(outputs, reference, labels) and result(), "
                    f"found {type(self._metric).__name__} without {method}"
                )

    def update(self, outputs: Any, reference: Any, labels: Any) -> None:
        shape = (len(outputs), *self._subject.output.shape[1:])
        # Copies: a softmax in place would else be what the metrics after this one measure.
        given = outputs.reshape(shape).copy(), np.array(reference).reshape(shape), None if labels is None else labels.copy()
        self._call(lambda: self._metric.update(*given))

    def result(self) -> dict[str, Measurement]:
        found = self._call(self._metric.result)
        if not isinstance(found, Mapping) or not found:
            raise ConfigError(f"{self._where}: result(): expected a mapping of names to values, found {shown(found)}")
        return {self._named(name): self._measured(name, value) for name, value in found.items()}

    def tables(self) -> dict[str, Table]:
        return {}

    @property
    def _where(self) -> str:
        return f"validation.metrics: python: {self._options.function}"

    def _named(self, name: Any) -> str:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            wanted = "expected a name of its own of letters, digits and _"
            raise ConfigError(f"{self._where}: result(): {wanted}, found {shown(name)}")
        if is_known(name):
            raise ConfigError(f"{self._where}: result(): expected a name of its own, found {name!r} that is taken")
        return name

    def _measured(self, name: str, value: Any) -> Measurement:
        parts = list(value) if isinstance(value, tuple | list) and len(value) == 2 else [value, None]
        try:
            if any(isinstance(part, str | bytes) for part in parts):
                raise TypeError("text, which float would read")
            ours, theirs = (None if part is None else float(part) for part in parts)
        except Exception:  # `__float__` may be code of the user
            raise ConfigError(f"{self._where}: {name}: expected a number or two, found {shown(value)}") from None
        if ours is None or not all(math.isfinite(part) for part in (ours, theirs) if part is not None):
            raise StageError(f"{self._where}: {name}: expected a finite number, found {shown(value)}")
        if any(abs(part) > GREATEST for part in (ours, theirs) if part is not None):
            raise ConfigError(f"{self._where}: {name}: expected numbers within {GREATEST:g} of 0, found {shown(value)}")
        lower = name in self._options.lower_is_better
        return Measurement(significant(ours), None if theirs is None else significant(theirs), lower_is_better=lower)

    def _call(self, work: Any) -> Any:
        try:
            return work()
        except (ConfigError, StageError):
            raise
        except (Exception, SystemExit, GeneratorExit) as error:
            import traceback

            from mlkit_build.sources.python import line_of

            traceback.print_exc()
            line = line_of(error, Path(COPY).absolute())
            told = f"{self._where}: raised{line and f'{line}:'} {words_of(error)}"
            hint = "it runs in a copy of the recipe's folder that holds its module and those it imports, and nothing else"
            raise ConfigError(told, hint if isinstance(error, OSError) else "") from error


def _function(options: PythonOptions, code: Mapping[str, Path]) -> Any:
    """Copy the code to a folder of its own and import the function from there."""
    copy = Path(COPY).absolute()
    for place, path in code.items():
        target = copy / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    module_place, _, name = options.function.partition(":")
    path = copy / module_place
    sys.dont_write_bytecode = True
    for folder in (path.parent, copy):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    spec = spec_from_file_location(f"{path.stem}_of_recipe", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"validation.metrics: python: no function {name!r} in {module_place}",
            did_you_mean(name, known) or f"it has {', '.join(known) or 'none'}",
        )
    return function
