"""A model that a function of the recipe's folder builds. It is the one place where a recipe names code.

The function runs in a copy of the folder with nothing in it but the modules that it imports and the files that the recipe
states. What decides the model is thereby known beforehand, and is part of the key.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mlkit_build.errors import SourceError, did_you_mean, message_of, words_of
from mlkit_build.recipe import LOCK_FILE
from mlkit_build.sources.frozen_graph import existing_file

if TYPE_CHECKING:
    from mlkit_build.graphs import OpenedModel
    from mlkit_build.recipe import Python, PythonSamples

COPY = "recipe"
_MISSING = {
    re.compile(r"filepath=(.+?)\. Please ensure"): "{}",
    re.compile(r"name = '(.+?)', errno = 2,"): "{}",
    re.compile(r"(\S+); No such file or directory"): "{}",
    re.compile(r"Failed to find any matching files for (\S+)"): "{}*",
    re.compile(r"SavedModel file does not exist at: (.+?)/\{"): "{}/**/*",
}
"""How Keras, HDF5 and TensorFlow say that a file is not there, with its path, and what `files` states then."""
_SEARCHED = 8192
"""The first characters of a message, where they are looked for: some take the square of the length. A path has 4096 at most."""


def files(source: Python | PythonSamples, folder: Path, field: str = "source") -> dict[str, Path]:
    """Return the function's module, the modules of the folder that it imports, and the stated files, by their place there.

    Raises:
        SourceError: The module or a stated file is missing, or the module is not Python.
    """
    module, _ = stated_function(source)
    _refuse_outside(f"{field}.function", module, folder)
    first = existing_file(f"{field}.function", module, folder, "a Python file")
    found = {path.relative_to(folder).as_posix(): path for path in _modules(first, folder, field)}
    for index, pattern in enumerate(source.files):
        _refuse_outside(f"{field}.files[{index}]", pattern, folder)
        try:
            matches = sorted(path for path in _globbed(folder, pattern) if path.is_file() and path != folder / LOCK_FILE)
        except (ValueError, IndexError, NotImplementedError):  # pathlib's word on a pattern that is none
            matches = []
        if not matches:
            raise SourceError(
                f"{field}.files[{index}]: no file of {folder} matches {pattern!r}",
                "paths and patterns are relative to the recipe's folder; a folder's content is `name/**/*`",
            )
        found |= {path.relative_to(folder).as_posix(): path for path in matches}
    return dict(sorted(found.items()))


def _globbed(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield what a pattern matches, on every Python: 3.13 would read `a**` as `a*`, and find files with a `**` at the end."""
    *_, last = parts = PurePosixPath(pattern).parts or ("",)
    return iter(()) if last == "**" or any("**" in part != "**" for part in parts) else folder.glob(pattern)


def _refuse_outside(field: str, stated: str, folder: Path) -> None:
    """Refuse a path that leaves the folder: its copy would lie outside of the function's copy of the folder."""
    if Path(stated).is_absolute() or ".." in Path(stated).parts:
        raise SourceError(
            f"{field}: expected a path inside of the recipe's folder {folder}, found {stated!r}",
            "link what it needs into that folder",
        )


def stated_function(source: Python | PythonSamples) -> tuple[str, str]:
    """Return the function's module, as a role is written, and its name."""
    module, _, name = source.function.partition(":")
    return Path(module).as_posix(), name


def load(files: Mapping[str, Path], source: Python) -> OpenedModel:
    """Call the function in its copy of the folder and open what it returns.

    Raises:
        SourceError: It does not exist, raises, or returns something else than a model.
    """
    from mlkit_build.sources.live import open_live

    copy = Path(COPY).absolute()
    function, origin = function_in_copy(files, source, copy)
    _seed()
    try:
        model = function(**source.arguments)
    except BaseException as error:
        raise raised(error, copy, origin, "raised") from error
    return open_live(model, origin, "source.function")


def function_in_copy(
    files: Mapping[str, Path], source: Python | PythonSamples, copy: Path, field: str = "source"
) -> tuple[Any, str]:
    """Return the function, imported from a copy of the files in the folder `copy`, and what to call it in messages.

    The copy becomes the current folder.

    Raises:
        SourceError: It does not exist, or its module cannot be imported.
    """
    module, name = stated_function(source)
    for role, path in files.items():
        place = copy / role
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    os.chdir(copy)
    origin = f"{files[module].parent / Path(module).name}:{name}"
    return _imported(copy, copy / module, name, origin, field), origin


def _seed() -> None:
    """Let a function that draws its weights at random draw the same ones each time."""
    import random

    import numpy as np
    import tensorflow as tf

    random.seed(0)
    np.random.seed(0)
    tf.random.set_seed(0)


def _modules(first: Path, folder: Path, field: str) -> Iterator[Path]:
    """Yield `first` and every module of the folder that is imported from it, directly or not, wherever the import stands."""
    waiting, seen = [first], {first}
    while waiting:
        path = waiting.pop()
        yield path
        for imported in _imports(path, folder, field):
            for candidate in (*_places(imported, folder), *_places(imported, first.parent)):
                if candidate.is_file() and candidate not in seen:
                    seen.add(candidate)
                    waiting.append(candidate)


def _imports(path: Path, folder: Path, field: str) -> Iterator[str]:
    """Yield the dotted names, from the recipe's folder, of what the module may import."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise SourceError(f"{field}.function: {path}{f', line {line}' if line else ''}: not Python: {error.args[0]}") from error
    package = path.parent.relative_to(folder).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _places(module: str, folder: Path) -> Iterator[Path]:
    """Yield the files that a dotted name may stand for, the packages above it included."""
    parts = [part for part in module.split(".") if part]
    for count in range(1, len(parts) + 1):
        place = folder.joinpath(*parts[:count])
        yield place.with_suffix(".py")
        yield place / "__init__.py"


def _imported(copy: Path, path: Path, name: str, origin: str, field: str) -> Any:
    """Import the module and return the function."""
    from importlib.util import module_from_spec, spec_from_file_location

    sys.path.insert(0, str(path.parent))
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    try:
        called = _within_packages(copy, path) if _imports_relatively(path) else path.stem
        spec = spec_from_file_location(called, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[called] = module
        spec.loader.exec_module(module)
    except BaseException as error:
        raise raised(error, copy, origin, "cannot be imported", field) from error
    function = getattr(module, name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise SourceError(
            f"{field}.function: no function {name!r} in {origin.rpartition(':')[0]}",
            did_you_mean(name, functions) or f"it has {', '.join(functions) or 'none'}",
        )
    return function


def _imports_relatively(path: Path) -> bool:
    return any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(ast.parse(path.read_bytes())))


def _within_packages(copy: Path, path: Path) -> str:
    """Make packages of the folders above a module, so that it may say `from . import x`; return its name among them.

    Not through `sys.path`: a package of the same name elsewhere, if it has an `__init__.py`, would come first.
    """
    from importlib.machinery import ModuleSpec
    from importlib.util import module_from_spec, spec_from_file_location

    *above, own = path.relative_to(copy).with_suffix("").parts
    root = "recipe_folder." if above and above[0] in sys.modules else ""
    for depth in range(0 if root else 1, len(above) + 1):
        name, folder = (root + ".".join(above[:depth])).rstrip("."), copy.joinpath(*above[:depth])
        first = folder / "__init__.py"
        spec = ModuleSpec(name, None, is_package=True)
        if first.is_file():
            spec = spec_from_file_location(name, first, submodule_search_locations=[str(folder)]) or spec
        assert spec.submodule_search_locations is not None
        spec.submodule_search_locations[:] = [str(folder)]
        package = sys.modules[name] = module_from_spec(spec)
        if spec.loader is not None and first.is_file():
            spec.loader.exec_module(package)
    return root + ".".join([*above, own])


def _not_there(error: BaseException, copy: Path) -> str:
    """Return what `files` has to state for a file that was not found in the copy; empty where no such file is named."""
    named = getattr(error, "filename", None)
    found = [(named, "{}")] if isinstance(named, str) else []
    text = message_of(error)[:_SEARCHED]
    found += [(match[1], stated) for said, stated in _MISSING.items() if (match := said.search(text))]
    for place, stated in found:
        if place and ".." not in Path(place).parts and (copy / place).is_relative_to(copy):
            return stated.format((copy / place).relative_to(copy).as_posix())
    return ""


def line_of(error: BaseException, copy: Path) -> str:
    """Return which line of the author's code raised it, in brackets; empty where none did."""
    import traceback

    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(copy))]
    return f" (line {own[-1].lineno} of {Path(own[-1].filename).relative_to(copy)})" if own else ""


def raised(error: BaseException, copy: Path, origin: str, what: str, field: str = "source") -> SourceError:
    """Return the author's exception as an error of the recipe, with the line that raised it; the log has the traceback."""
    import traceback

    traceback.print_exception(error)
    place = line_of(error, copy)
    hint = ""
    read = _not_there(error, copy)
    if read or isinstance(error, (FileNotFoundError, ModuleNotFoundError)):
        read = read or "weights.h5"
        hint = (
            f"it runs in a copy of the recipe's folder that holds the modules it imports and `{field}.files`, and nothing else; "
            f"state what it reads: `files: [{read}]`, or `files=[{read}]` after `inspect`"
        )
    elif isinstance(error, TypeError) and not place and "argument" in message_of(error):
        hint = "what it is called with is stated as `arguments: {name: value}`"
    elif isinstance(error, ImportError) and "relative import" in message_of(error):
        hint = "the recipe's folder is no package: write `import x`, and `from . import x` only in a module of a folder below it"
    return SourceError(f"{field}.function: {origin} {what}{place}: {words_of(error)}", hint)
