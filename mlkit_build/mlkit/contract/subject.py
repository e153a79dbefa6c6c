"""What rules look at: the ends of a model, and where there is a file already, all of it."""

from __future__ import annotations

from collections.abc import Collection

from mlkit_build.mlkit.contract.scores import makers
from mlkit_build.mlkit.flatbuffer import DamagedError
from mlkit_build.mlkit.model_file import ModelFile, dtype_of, shape_of
from mlkit_build.mlkit.stated_schema import NORMALIZATION, Graph
from mlkit_build.records import dataclass
from mlkit_build.signature import FrozenSignature, TensorSpec


@dataclass(frozen=True)
class Port:
    """An input or output.

    Attributes:
        shape: Batch first.
        dtype: The type that the app meets, by NumPy's name.
        maker: Of an output in a file, the operator that lets it leave 0..1, empty where none does.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    maker: str = ""


@dataclass(frozen=True)
class Subject:
    """A model, before or after conversion.

    Attributes:
        inputs: In the model's order.
        outputs: In the model's order.
        normalizes: Whether pixels become other numbers before they are fed.
        normalized: Whether mean and std are stated for that.
        file: The file; None before there is one, or where it is damaged.
        damage: Why the file is no model, or none that fits together.
        runtime: The oldest runtime that must know its operators, e.g. `2.14`; empty where none is asked for.
    """

    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    normalizes: bool = False
    normalized: bool = False
    file: ModelFile | None = None
    damage: DamagedError | None = None
    runtime: str = ""

    @property
    def image(self) -> Port | None:
        """The one input."""
        return self.inputs[0] if len(self.inputs) == 1 else None

    @property
    def stated(self) -> Graph | None:
        """What a file says of the ends of its model."""
        stated = self.file.stated if self.file else None
        return stated.graphs[0] if stated and stated.graphs else None


def signed(signature: FrozenSignature, io: str, normalized: Collection[str]) -> Subject:
    """Return what there is before conversion.

    Args:
        signature: The frozen signature.
        io: The type that float inputs and outputs will have in the shipped model.
        normalized: Inputs with mean and std.
    """
    first = signature.inputs[0] if signature.inputs else None
    return Subject(
        inputs=tuple(_port(spec, io) for spec in signature.inputs),
        outputs=tuple(_port(spec, io) for spec in signature.outputs),
        normalizes=first is not None and first.dtype == "float32",
        normalized=first is not None and first.name in normalized,
    )


def shipped(file: ModelFile, runtime: str = "") -> Subject:
    """Return what there is in a file."""
    graph, bare = file.graph, file.stated.graphs[0] if file.stated and file.stated.graphs else None
    inputs = tuple(_of_tensor(file, index) for index in graph.inputs or ())
    unbounded = makers(file)
    outputs = tuple(_of_tensor(file, index, maker) for index, maker in zip(graph.outputs or (), unbounded, strict=True))
    units = [unit.options[0] for stated in (bare.inputs or ())[:1] for unit in stated.units] if bare else []
    return Subject(
        inputs=inputs,
        outputs=outputs,
        normalizes=bool(inputs) and inputs[0].dtype == "float32",
        normalized=NORMALIZATION in units,
        file=file,
        runtime=runtime,
    )


def _port(spec: TensorSpec, io: str) -> Port:
    return Port(spec.name, spec.shape, io if spec.dtype == "float32" else spec.dtype)


def _of_tensor(file: ModelFile, index: int, maker: str = "") -> Port:
    tensor = file.tensors[index]
    return Port(tensor.name or "", shape_of(tensor), dtype_of(tensor), maker)
