"""A `.tflite` by anyone, opened: its tables, what it says of itself, and the files behind it, each of which may be damaged."""

from __future__ import annotations

from functools import cached_property

from mlkit_build.mlkit.appended_archive import Archive, Entry, archive_of
from mlkit_build.mlkit.associated_files import DamagedArchiveError, extracted
from mlkit_build.mlkit.flatbuffer import DamagedError
from mlkit_build.mlkit.metadata_schema import IDENTIFIER as METADATA
from mlkit_build.mlkit.metadata_schema import NAME
from mlkit_build.mlkit.model_reader import ModelReader
from mlkit_build.mlkit.model_schema import IDENTIFIER, Model, OperatorCode, SubGraph, Tensor
from mlkit_build.mlkit.model_structure import check, content_of
from mlkit_build.mlkit.stated_schema import Stated
from mlkit_build.records import dataclass
from mlkit_build.tflite.names import CUSTOM, operator_name, type_name


@dataclass(frozen=True)
class ModelFile:
    """A file whose model can be read; what it says of itself, and what lies behind it, need not be.

    Attributes:
        data: All of the file.
        identifier: What the metadata begin with, `M001` where all is well; None without metadata.
        stated: The metadata; None where there are none, or none that can be read.
        damage: Why the metadata cannot be read; empty where they can, or there are none.
    """

    data: bytes
    model: Model
    identifier: str | None = None
    stated: Stated | None = None
    damage: str = ""

    @property
    def graph(self) -> SubGraph:
        """The subgraph that runs."""
        return self.model.subgraphs[0]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Its tensors."""
        return self.graph.tensors or ()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The files behind the model; none where there is no archive. Raises DamagedArchiveError."""
        if self._archive.damage:
            raise DamagedArchiveError(self._archive.damage)
        return self._archive.entries

    def content(self, name: str) -> bytes:
        """Return a file behind the model. Raises DamagedArchiveError."""
        if name not in {entry.name for entry in self.entries}:
            raise DamagedArchiveError(f"No associated file with name: {name}")
        if name not in self._contents:
            self._contents[name] = extracted(self.data, [name])[name]
        return self._contents[name]

    @cached_property
    def _archive(self) -> Archive:
        return archive_of(self.data)

    @cached_property
    def _contents(self) -> dict[str, bytes]:
        return {}


def opened(data: bytes) -> ModelFile:
    """Return the file.

    Raises:
        DamagedError: It holds no flatbuffer of a model.
        UnsoundError: It does, and what is in it does not fit together.
    """
    reader = ModelReader(data)
    model = reader.table(Model, reader.root(IDENTIFIER))
    check(model, len(data))
    entry = next((entry for entry in model.metadata or () if entry.name == NAME), None)
    if entry is None:
        return ModelFile(data, model)
    if entry.buffer >= len(model.buffers):
        return ModelFile(data, model, "", damage=f"they are in buffer {entry.buffer} of {len(model.buffers)}")
    stored = content_of(model.buffers[entry.buffer], data)
    identifier = bytes(stored[4:8]).decode("latin-1")
    if identifier.encode("latin-1") != METADATA:
        return ModelFile(data, model, identifier, damage=f"they begin with {identifier!r}")
    try:
        reader = ModelReader(stored)
        return ModelFile(data, model, identifier, reader.table(Stated, reader.root(METADATA)))
    except DamagedError as error:
        return ModelFile(data, model, identifier, damage=str(error))


def code_name(code: OperatorCode) -> str:
    """Return what an operator is called, e.g. `CONV_2D`; a custom operator by its own name."""
    number = builtin(code)
    return code.custom or "" if number == CUSTOM else operator_name(number)


def builtin(code: OperatorCode) -> int:
    """Return the number of an operator, which old files keep in another field."""
    return max(code.builtin, code.old_builtin)


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """Return its shape, batch first."""
    return tensor.shape or ()


def dtype_of(tensor: Tensor) -> str:
    """Return its type by NumPy's name."""
    return type_name(tensor.type)
