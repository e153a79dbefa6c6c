"""Which operators of a file a runtime does not have, by the table of versions."""

from __future__ import annotations

import struct
from functools import cache
from types import SimpleNamespace
from typing import Any

from mlkit_build.mlkit.flatbuffer import DamagedError
from mlkit_build.mlkit.model_file import ModelFile, code_name
from mlkit_build.mlkit.model_reader import ModelReader
from mlkit_build.mlkit.model_schema import Operator, SubGraph, Tensor
from mlkit_build.records import dataclass
from mlkit_build.tflite.versions.requirement import OperatorRequirement, Requirement, required_runtime
from mlkit_build.tflite.versions.runtimes import FIRST_RUNTIMES, first_runtime, release


@dataclass(frozen=True)
class Newer:
    """An operator that a runtime does not have.

    Attributes:
        unknown: Whether it has it in no version.
    """

    name: str
    version: int
    told: str
    unknown: bool


def newer(file: ModelFile, runtime: str) -> list[Newer]:
    """Return the operators that a runtime, e.g. `2.14`, does not compute rightly; that none does, where `runtime` is empty."""
    needs = requirement(file)
    if runtime:
        return [_newer(each, runtime) for each in needs.beyond(runtime)]
    return [
        _newer(each, runtime)
        for each in needs.operators
        if each.name in FIRST_RUNTIMES and first_runtime(each.name, each.version) is None
    ]


def requirement(file: ModelFile) -> Requirement:
    """Return what runtime the operators of a file by anyone need."""
    return required_runtime(_as_objects(file))


def _newer(each: OperatorRequirement, runtime: str) -> Newer:
    first = f"which {each.runtime} has first" if each.runtime else "which no known runtime has"
    told = f"{each.name} version {each.version} ({each.types}), {'; '.join([first, *each.silent])}"
    begins = first_runtime(each.name, 1)
    return Newer(each.name, each.version, told, bool(runtime) and (begins is None or release(begins) > release(runtime)))


def _as_objects(file: ModelFile) -> SimpleNamespace:
    """Return the file in LiteRT's object form, as far as versions depend on it."""
    codes = [
        SimpleNamespace(
            builtinCode=code.builtin, deprecatedBuiltinCode=code.old_builtin, version=code.version, customCode=code_name(code)
        )
        for code in file.model.codes
    ]
    return SimpleNamespace(operatorCodes=codes, subgraphs=[_graph(graph, file) for graph in file.model.subgraphs])


def _graph(graph: SubGraph, file: ModelFile) -> SimpleNamespace:
    operators = [
        SimpleNamespace(
            opcodeIndex=operator.code,
            inputs=operator.inputs or (),
            outputs=operator.outputs or (),
            builtinOptions=_Options(file.data, operator) if operator.options is not None else None,
        )
        for operator in graph.operators or ()
    ]
    return SimpleNamespace(tensors=[_tensor(tensor) for tensor in graph.tensors or ()], operators=operators)


def _tensor(tensor: Tensor) -> SimpleNamespace:
    stated = tensor.quantization
    quantization = None if stated is None else SimpleNamespace(scale=stated.scale, detailsType=stated.details)
    return SimpleNamespace(
        name=tensor.name, type=tensor.type, shape=tensor.shape, quantization=quantization, sparsity=tensor.sparsity
    )


@cache
def _kinds() -> dict[int, Any]:
    """Return the class of each kind of options."""
    from mlkit_build.tflite.model import schema

    return {number: getattr(schema(), kind, None) for kind, number in vars(schema().BuiltinOptions).items() if kind[0] != "_"}


class _Options:
    """The numbers among an operator's options by their names in the object form, each read when it is asked for."""

    def __init__(self, data: bytes, operator: Operator) -> None:
        self._data = data
        self._type, self._place = operator.options_type, operator.options

    def __getattr__(self, name: str) -> Any:
        kind = _kinds().get(self._type)
        read = getattr(kind, name[:1].upper() + name[1:], None)
        if kind is None or read is None or name.startswith("_"):
            raise AttributeError(name)
        try:
            ModelReader(self._data).check_table(self._place or 0)
            options = kind()
            options.Init(self._data, self._place)
            return read(options)
        except (DamagedError, struct.error, TypeError, IndexError) as error:
            raise AttributeError(name) from error
