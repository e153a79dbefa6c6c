"""Small TensorFlow 2 models, saved as their authors would, and the way through freeze and convert in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.adapters import FrozenModel
from mlkit_build.graphs import OpenedModel
from mlkit_build.recipe import SavedModel
from mlkit_build.sources import saved_model
from mlkit_build.stages.freeze import freeze_model
from mlkit_build.stages.params import FreezeInput, FreezeParams

_CONVERTED = count()


def saved(function: Callable[..., Any], folder: Path, *shapes: Sequence[int | None], **variables: Any) -> Any:
    """Save `function(module, *tensors)` of a module with these variables as the default signature; return it, to compare with."""
    import tensorflow as tf

    module = tf.Module()
    for name, value in variables.items():
        setattr(module, name, tf.Variable(value))
    specs = [tf.TensorSpec(shape, tf.float32, name=f"x{index}") for index, shape in enumerate(shapes)]
    traced = tf.function(lambda *tensors: function(module, *tensors), input_signature=specs)
    module.serve = traced
    tf.saved_model.save(module, str(folder), signatures={"serving_default": traced})
    return traced


def opened(folder: Path) -> OpenedModel:
    source = SavedModel(path=str(folder))
    return saved_model.load(saved_model.files(source, folder.parent), source)


def frozen(folder: Path, inputs: Mapping[str, Sequence[int]] | None = None, unroll: str = "auto") -> FrozenModel:
    """Freeze a SavedModel; `inputs` states shapes, `unroll` what becomes of loops."""
    stated = {name: FreezeInput(None, tuple(shape)) for name, shape in (inputs or {}).items()}
    return freeze_model(opened(folder), FreezeParams(SavedModel(path=""), stated, {}, unroll=unroll))


def lite(model: FrozenModel, *values: NDArray[Any]) -> list[NDArray[Any]]:
    """Convert to built-in operators, as the convert stage does, and run in LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    from mlkit_build.stages.convert import convert_graph

    interpreter = Interpreter(model_content=convert_graph(_renamed(model.graph_def), model.signature))
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), values, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def _renamed(graph_def: Any) -> Any:
    """Give functions names that no other test's have: a process knows one function of a name, and a build's has only its own."""
    from mlkit_build.graphs.functions import library_of

    renamed = type(graph_def)()
    renamed.CopyFrom(graph_def)
    number = next(_CONVERTED)
    library = library_of(renamed)
    for node in [*renamed.node, *(node for function in library.values() for node in function.node_def)]:
        if node.op in library:
            node.op = f"{node.op}_test{number}"
        for value in node.attr.values():
            for function in (value.func, *value.list.func):
                if function.name in library:
                    function.name = f"{function.name}_test{number}"
    for name, function in library.items():
        function.signature.name = f"{name}_test{number}"
    return renamed


def values_for(model: FrozenModel, seed: int = 0) -> list[NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return [
        (rng.uniform(0, 5 if spec.dtype.startswith("int") else 1, spec.shape)).astype(spec.dtype)
        for spec in model.signature.inputs
    ]


def assert_same(model: FrozenModel, reference: Callable[..., Any]) -> None:
    """The frozen model has static shapes and gives in LiteRT what the author's gives in TensorFlow."""
    import tensorflow as tf

    values = values_for(model)
    expected = [np.asarray(value) for value in tf.nest.flatten(reference(*map(tf.constant, values)))]
    assert [spec.shape for spec in model.signature.outputs] == [value.shape for value in expected]
    for found, wanted in zip(lite(model, *values), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
