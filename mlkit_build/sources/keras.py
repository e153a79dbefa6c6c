"""A model that Keras saved whole: `.keras` and `.h5`/`.hdf5`, of Keras 3 and of Keras 2.

Each generation refuses files of the other, so that two loaders are needed; the second is an extra. Code in a file (`Lambda`
layers) never runs: Keras's safe mode stays on, also where Keras 2 forgets it, and no file chooses a module to import.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlkit_build.errors import SourceError
from mlkit_build.sources.frozen_graph import existing_file, what_it_is

if TYPE_CHECKING:
    from mlkit_build.graphs import OpenedModel
    from mlkit_build.recipe import Keras

_HDF5 = b"\x89HDF\r\n\x1a\n"
_AGAIN = "save the model again; the file may be truncated"
_CAUSE = "Exception encountered: "
_MODULES = ("builtins", "keras", "tf_keras", "tensorflow")
_EXTRA = 'install the second loader with `pip install "mlkit-build[keras2]"`'
_AS_PYTHON = (
    "write a function that builds the model and loads the weights, and use `source: {kind: python, function: model.py:build}`"
)


def files(source: Keras, folder: Path) -> dict[str, Path]:
    """Return the one file, `model`.

    Raises:
        SourceError: It is missing, or a folder: a SavedModel is another kind.
    """
    path = folder / source.path
    if (path / "saved_model.pb").is_file():
        raise SourceError(
            f"source.path: {path} is a SavedModel, not a Keras file", "use `source: {kind: saved_model, path: ...}`"
        )
    return {"model": existing_file("source.path", source.path, folder, "a .keras, .h5 or .hdf5 file")}


def load(files: Mapping[str, Path], source: Keras) -> OpenedModel:
    """Load the model, with Keras 3 where that reads the file and with Keras 2 elsewhere.

    Raises:
        SourceError: The file is damaged, holds weights only, or needs code or a loader that is not here.
    """
    from mlkit_build.sources.live import open_keras

    path = files["model"]
    return open_keras(_load(path), str(path), "source.path")


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(8)
    if start == _HDF5:
        suffix, (generation, config) = ".h5", _h5_content(path)
    elif start[:4] == b"PK\x03\x04":
        suffix, (generation, config) = ".keras", _zip_content(path)
    else:
        raise SourceError(
            f"source.path: {path} is not a Keras file, which is a zip archive or HDF5",
            _AGAIN if start[:2] == b"PK" else what_it_is(start, _AGAIN),
        )
    named = path
    if path.suffix not in ((".h5", ".hdf5") if suffix == ".h5" else (".keras",)):
        named = Path(f"model{suffix}").absolute()  # Keras chooses its reader by the name; this is the action's own folder
        named.unlink(missing_ok=True)
        named.symlink_to(path)
    try:
        return _keras3(named)
    except Exception as error:
        first = error
    loader = _keras2()
    if loader is None:
        if generation == 2:
            raise SourceError(
                f"source.path: {path} was saved by Keras 2 and Keras 3 cannot read it: {_line(first)}", _EXTRA
            ) from first
        raise _unreadable(path, first) from first
    _refuse_code(config, path)
    try:
        return loader(named)
    except Exception as second:
        raise _unreadable(path, second if generation == 2 else first) from second


def _keras3(path: Path) -> Any:
    import keras

    return keras.models.load_model(path, compile=False, safe_mode=True)


def _keras2() -> Callable[[Path], Any] | None:
    try:
        import tf_keras
        from tf_keras.src.saving.serialization_lib import SafeModeScope
    except ImportError:
        return None

    def load(path: Path) -> Any:
        with SafeModeScope(safe_mode=True):  # its HDF5 reader does not look at the argument
            return tf_keras.models.load_model(path, compile=False, safe_mode=True)

    return load


def _refuse_code(config: Any, path: Path) -> None:
    """Refuse a model's configuration with Python code in it, or with modules that are not Keras's: Keras 2 imports any.

    Raises:
        SourceError: It has either.
    """
    parts = list(_parts(config))
    if any(part.get("class_name") in ("Lambda", "__lambda__") for part in parts):
        raise _holds_code(path)
    for part in parts:
        module = part.get("module")
        if isinstance(module, str) and module.split(".")[0] not in _MODULES:
            raise SourceError(f"source.path: {path} needs classes of your own, of the module {module!r}", _AS_PYTHON)


def _parts(config: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(config, Mapping):
        yield config
        for item in config.values():
            yield from _parts(item)
    elif isinstance(config, list):
        for item in config:
            yield from _parts(item)


def _h5_content(path: Path) -> tuple[int, Any]:
    """Return the generation of Keras that wrote an HDF5 file, and the model's configuration.

    Raises:
        SourceError: It is damaged, or holds weights only.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            version = file.attrs.get("keras_version", b"2")
            whole = "model_config" in file.attrs
            config = json.loads(file.attrs["model_config"]) if whole else None
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise SourceError(f"source.path: {path} cannot be read: {_line(error)}", "it may be truncated; copy it again") from error
    if not whole:
        raise SourceError(f"source.path: {path} holds weights only, and no model (no `model_config` in it)", _AS_PYTHON)
    text = version.decode() if isinstance(version, bytes) else str(version)
    return 3 if text.startswith("3") else 2, config


def _zip_content(path: Path) -> tuple[int, Any]:
    """Return the generation of Keras that wrote a `.keras` archive, and the model's configuration.

    Raises:
        SourceError: It is damaged, or another kind of archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "config.json" not in names:
                weights = any(name.endswith(".weights.h5") for name in names)
                what = "holds weights only" if weights else f"is another archive: it holds {', '.join(names[:3]) or 'nothing'}"
                raise SourceError(
                    f"source.path: {path} {what}, and no config.json", _AS_PYTHON if weights else "use the .keras file itself"
                )
            config = json.loads(archive.read("config.json"))
            metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in names else {}
            version = str(metadata.get("keras_version", "3"))
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, AttributeError, RuntimeError, zlib.error) as error:
        raise SourceError(f"source.path: {path} cannot be read: {_line(error)}", "it may be truncated; copy it again") from error
    return 2 if version.startswith("2") else 3, config


def _unreadable(path: Path, error: Exception) -> SourceError:
    text = str(error)
    if "safe_mode" in text or "unsafe" in text.lower() or "arbitrary code" in text:
        return _holds_code(path)
    if "register_keras_serializable" in text or "custom" in text.lower() or "Unknown layer" in text:
        return SourceError(f"source.path: {path} needs classes of your own: {_line(error)}", _AS_PYTHON)
    return SourceError(f"source.path: {path} cannot be read: {_line(error)}", "it may be truncated or damaged; save it again")


def _holds_code(path: Path) -> SourceError:
    return SourceError(
        f"source.path: {path} holds Python code (a Lambda layer), which safe mode does not run",
        f"a model file is data here; {_AS_PYTHON}",
    )


def _line(error: Exception) -> str:
    """Return one line of a message: of Keras's nested ones, the innermost."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    causes = [line.removeprefix(_CAUSE) for line in lines if line.startswith(_CAUSE)]
    text = causes[-1] if causes else lines[0] if lines else type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."
