"""A recipe written to a folder for a model that lives in this process: its frozen graph, its samples, and `recipe.yaml`.

The folder is a recipe like any other: it builds again, later and elsewhere, to the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlkit_build.arguments import check_named, check_names_differ
from mlkit_build.errors import ConfigError, SourceError, StageError, did_you_mean

if TYPE_CHECKING:
    from mlkit_build.graphs import DeclaredSignature

__all__ = ["write_recipe"]

_GRAPH_FILE = "model.pb"
_MARK = "# Written by mlkit_build.export, which may write it again.\n"


def write_recipe(
    folder: Path, model: Any, inputs: Any, outputs: Any, constants: Mapping[Any, Any], fields: Mapping[str, Any]
) -> None:
    """Freeze the model and write everything that builds it to `folder`, which exists.

    Args:
        folder: Where to.
        model: See `mlkit_build.export`, as for the other arguments.
        inputs: The stated inputs.
        outputs: The stated outputs.
        constants: The stated constants.
        fields: The recipe's other fields, in the forms that `mlkit_build.export` takes.

    Raises:
        ConfigError: An argument is not what it should be, or the folder holds a recipe that somebody else wrote.
        SourceError: The model cannot be read.
        StageError: It is too large for a GraphDef.
    """
    file, fields = folder / "recipe.yaml", dict(fields)
    if file.exists() and not file.read_bytes().startswith(_MARK.encode()):
        raise ConfigError(f"export: recipe_dir: {file} was not written by export", "name another folder")
    for field in ("source", "signature", "defaults"):
        if field in fields:
            raise ConfigError(f"export: {field} follows from the model", "describe it with inputs, outputs and constants")
    signature = _freeze(model, inputs, outputs, constants, folder)
    defaults = [{"override /target": fields.pop("target")}]
    if isinstance(fields["quantization"], str):
        defaults.append({"override /quantization": fields.pop("quantization")})
    names = list(signature["inputs"])
    for field in ("dataset", "calibration"):
        if fields[field] is not None:
            fields[field] = _samples(field, fields[field], names, folder)
    if fields["labels"] is not None:
        fields["labels"] = _labels(fields["labels"], folder)
    source = {"kind": "frozen_graph", "path": _GRAPH_FILE}
    stated = {key: value for key, value in fields.items() if value is not None}
    _write_yaml({"defaults": defaults, "name": fields["name"], "source": source, "signature": signature, **stated}, file)


def _freeze(model: Any, inputs: Any, outputs: Any, constants: Mapping[Any, Any], folder: Path) -> dict[str, Any]:
    """Write the model's graph, with constants for variables, into the folder; return the recipe's signature."""
    from mlkit_build.graphs import canonical_form
    from mlkit_build.graphs.variables import MAX_BYTES
    from mlkit_build.recipe import FrozenGraph
    from mlkit_build.sources.live import open_live
    from mlkit_build.stages.binding import bind
    from mlkit_build.stages.cutting import cut_graph
    from mlkit_build.stages.params import FreezeInput, FreezeParams

    if isinstance(model, (str, Path)):
        raise ConfigError(
            f"export: expected a model, found the path {str(model)!r}",
            "load it first, or build it from a recipe: `mlkit-build inspect PATH` prints one",
        )
    is_session = hasattr(model, "run") and hasattr(model, "graph")
    origin = f"the {type(model).__name__} given to export"
    opened = None
    if not is_session:
        opened = open_live(model, origin, "export")
        own = _own_names(model, opened.declared[0])
        inputs, outputs = _named(inputs, own), _named(outputs, own)
        check_named(inputs, [spec.name for spec in opened.declared[0].inputs])
    stated_inputs = _stated("inputs", inputs, ("tensor", "shape", "mean", "std"))
    stated_outputs = _stated("outputs", outputs, ("tensor",))
    if opened is None:
        if not stated_inputs or not stated_outputs:
            raise ConfigError(
                "export: a TensorFlow 1 session needs inputs and outputs",
                'e.g. `export(session, inputs={"image": x}, outputs={"scores": y})`',
            )
        opened = open_live((model, _tensors_of(stated_inputs), _tensors_of(stated_outputs)), origin, "export")
    request = FreezeParams(
        source=FrozenGraph(path=""),
        inputs={
            key: FreezeInput(_tensor_name("inputs", item.get("tensor")), _shape(key, item.get("shape")))
            for key, item in stated_inputs.items()
        },
        outputs={key: _tensor_name("outputs", item.get("tensor")) for key, item in stated_outputs.items()},
        constants={_tensor_name("constants", key) or "": _plain(value) for key, value in constants.items()},
    )
    bound = bind(request, opened)
    check_names_differ(bound.request.inputs, bound.request.outputs)
    try:
        cut = cut_graph(opened.graph(bound.shapes), bound.request)
    except (RuntimeError, NotImplementedError) as error:
        hint = "export it before the session is closed" if is_session else "without eager execution, export the session"
        raise SourceError(f"export: the model cannot be read: {error}", hint) from error
    graph_def = canonical_form(cut.graph_def, cut.outputs.values())
    if graph_def.ByteSize() > MAX_BYTES:
        raise StageError(f"export: the frozen graph needs {graph_def.ByteSize()} bytes; a GraphDef can hold 2 GB")
    (folder / _GRAPH_FILE).write_bytes(graph_def.SerializeToString(deterministic=True))
    signature: dict[str, Any] = {"inputs": {}, "outputs": {key: {"tensor": str(tensor)} for key, tensor in cut.outputs.items()}}
    for spec in cut.inputs:
        stated = stated_inputs.get(spec.name, {})
        image = {key: _numbers(spec.name, key, stated[key]) for key in ("mean", "std") if stated.get(key) is not None}
        signature["inputs"][spec.name] = {"tensor": spec.tensor, "shape": list(spec.shape), **image}
    return signature


def _stated(field: str, tensors: Any, known: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return name -> fields as a recipe has them, from any of the forms that `export` takes."""
    if tensors is None:
        return {}
    if not isinstance(tensors, Mapping):
        listed = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
        return {(_tensor_name(field, item) or "").split(":")[0].rsplit("/", 1)[-1]: {"tensor": item} for item in listed}
    stated: dict[str, dict[str, Any]] = {}
    for name, item in tensors.items():
        stated[str(name)] = dict(item) if isinstance(item, Mapping) else {} if item is None else {"tensor": item}
        for key in stated[str(name)]:
            if key not in known:
                raise ConfigError(
                    f"export: {field}.{name}.{key}: no such field; expected one of {', '.join(known)}",
                    did_you_mean(str(key), list(known)),
                )
    return stated


def _own_names(model: Any, declared: DeclaredSignature) -> dict[int, str]:
    """Return identity -> declared name of the symbolic tensors that a Keras model or a concrete function has."""
    tensors = [getattr(model, part, None) or () for part in ("inputs", "outputs")]
    pairs = [*zip(tensors[0], declared.inputs, strict=False), *zip(tensors[1], declared.outputs, strict=False)]
    return {id(tensor): spec.name for tensor, spec in pairs}


def _named(tensors: Any, own: Mapping[int, str]) -> Any:
    """Return what the caller stated with names for the model's own tensors."""
    if isinstance(tensors, Mapping):
        return {key: _named(item, own) for key, item in tensors.items()}
    if isinstance(tensors, (list, tuple)):
        return [_named(item, own) for item in tensors]
    return own.get(id(tensors), tensors)


def _tensors_of(stated: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {key: item.get("tensor", key) for key, item in stated.items()}


def _tensor_name(field: str, tensor: Any) -> str | None:
    name = tensor if tensor is None or isinstance(tensor, str) else getattr(tensor, "name", tensor)
    if name is not None and not isinstance(name, str):
        raise ConfigError(f"export: {field}: expected a tensor of the model or its name, found {type(tensor).__name__}")
    return name


def _shape(name: str, shape: Any) -> tuple[int, ...] | None:
    try:
        sizes = None if shape is None else tuple(int(size) for size in shape)
        if any(size < 1 for size in sizes or ()):
            raise ValueError
        return sizes
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"export: inputs.{name}.shape: expected a number for every dimension, 1 or more, found {shape!r}",
            "the converter needs static shapes; pin the batch to 1",
        ) from error


def _numbers(name: str, key: str, values: Any) -> list[float]:
    import numpy as np

    try:
        return [float(value) for value in np.ravel(values)]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"export: inputs.{name}.{key}: expected numbers, found {values!r}") from error


def _samples(field: str, data: Any, names: Sequence[str], folder: Path) -> dict[str, Any]:
    """Return the recipe's entry for samples; arrays are written beside the recipe."""
    import numpy as np

    if isinstance(data, Mapping) and "kind" in data:
        return {**data, "path": _beside(data["path"], folder)} if isinstance(data.get("path"), (str, Path)) else dict(data)
    if isinstance(data, tuple) and len(data) != 2:
        raise ConfigError(f"export: {field}: expected samples, or a pair of samples and labels, found {len(data)} things")
    values, classes = data if isinstance(data, tuple) else (data, None)
    if not isinstance(values, Mapping):
        if len(names) != 1:
            raise ConfigError(
                f"export: {field}: expected name -> array for the inputs {', '.join(names)}, found one array",
                f"e.g. `{field}={{{names[0]!r}: array, ...}}`",
            )
        values = {names[0]: values}
    names_of = {key: _array_name(str(key), index) for index, key in enumerate(values)}
    arrays = {name: _array(f"{field}.{key}", values[key]) for key, name in names_of.items()}
    features = {str(key): name for key, name in names_of.items()}
    entry: dict[str, Any] = {"kind": "npz", "path": f"{field}.npz", "features": features}
    if classes is not None:
        arrays["label"], entry["label"] = _array(f"{field}: the labels", classes), "label"
    np.savez(folder / f"{field}.npz", **arrays)
    return entry


def _array_name(feature: str, index: int) -> str:
    """Return what the archive calls the array of an input: the same, unless `numpy.savez` or the labels take the name."""
    return feature if feature.isidentifier() and feature not in ("file", "allow_pickle", "label") else f"input_{index}"


def _array(what: str, values: Any) -> Any:
    """Return an array of numbers in C order."""
    import numpy as np

    try:
        array = np.asarray(values, order="C")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"export: {what}: expected an array, found something else: {str(error).splitlines()[0]}") from error
    if array.dtype.kind not in "buif":
        raise ConfigError(
            f"export: {what}: expected an array of numbers, found {type(values).__name__} of dtype {array.dtype}",
            "give a NumPy array, sample first",
        )
    return array


def _labels(labels: Sequence[str] | str | Path, folder: Path) -> str:
    """Return the recipe's entry for the labels, which are kept beside the recipe."""
    if isinstance(labels, (str, Path)):
        path = Path(labels).expanduser()
        if not path.is_file():
            raise SourceError(f"export: labels: expected the classes' names, or the path of a file, found {str(labels)!r}")
        content = path.read_bytes()
    else:
        content = "".join(f"{label}\n" for label in labels).encode()
    (folder / "labels.txt").write_bytes(content)
    return "labels.txt"


def _beside(path: str | Path, folder: Path) -> str:
    """Return a path of the current folder as one of the recipe's folder; a URL is left as it is."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(path)):
        return str(path)
    absolute = Path(path).expanduser().absolute()
    return str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute)


def _write_yaml(recipe: Mapping[str, Any], file: Path) -> None:
    import yaml

    try:
        text = yaml.safe_dump(_plain(recipe), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    except yaml.YAMLError as error:
        raise ConfigError(f"export: a field is not plain data: {error}", "give numbers, texts, lists and mappings") from error
    file.write_text(_MARK + text, encoding="utf-8", newline="")


def _plain(value: Any) -> Any:
    """Return `value` in plain Python: NumPy's numbers and arrays as numbers and lists, paths as texts."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else value
