"""Which operator of a quantized model stands for which of the float model: the one whose outputs have the same names.

Both backends keep the names of tensors. Where a tensor became integers and is float again at the model's end, the integers may
have a name of their own: then what converts them has the name that both models know. And TensorFlow's converter counts on
where a name is taken: `conv1/bias1` is `conv1/bias2` once it wrote a DEQUANTIZE for the bias.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
from typing import Any

from mlkit_build.quantization.reading import BOUNDARY, is_constant
from mlkit_build.quantization.selection import place_of
from mlkit_build.records import dataclass
from mlkit_build.tflite.model import operator_name, tensor_name


@dataclass(frozen=True)
class Pair:
    """An operator of the quantized model, beside the float model.

    Attributes:
        operator: LiteRT's name of it in the quantized model.
        place: The float operator's number in its graph; None for QUANTIZE, which the float model has not.
        outputs: (tensor of the float model, tensor of the quantized model) that stand for each other.
        inputs: The same for what it reads and varies. Of a QUANTIZE the first is what it quantizes, in the quantized model.
        comparable: Whether the float operator can be run on the quantized one's inputs.
    """

    operator: str
    place: int | None
    outputs: tuple[tuple[int, int], ...]
    inputs: tuple[tuple[int, int], ...]
    comparable: bool


@dataclass(frozen=True)
class Matching:
    """Every operator that was found in both models, in the quantized model's order, and the tensors that were not."""

    pairs: tuple[Pair, ...]
    unmatched: tuple[str, ...]


def matched(float_model: Any, quantized: Any) -> Matching:
    """Return which operators of the main graphs stand for each other."""
    search = _Search(float_model, quantized)
    pairs: list[Pair] = []
    unmatched: list[str] = []
    for operator in quantized.subgraphs[0].operators:
        name = search.name(quantized, operator)
        if name == "DEQUANTIZE":
            continue
        if name == "QUANTIZE":
            pair = search.conversion(operator)
        else:
            pair = search.operator(name, operator)
        if pair is not None and pair.place not in {other.place for other in pairs if other.place is not None}:
            pairs.append(pair)
        else:
            unmatched += [tensor_name(quantized.subgraphs[0].tensors[index]) for index in operator.outputs[:1]]
    return Matching(tuple(pairs), tuple(unmatched))


class _Search:
    def __init__(self, float_model: Any, quantized: Any) -> None:
        self._float_model, self._quantized = float_model, quantized
        self._float, self._graph = float_model.subgraphs[0], quantized.subgraphs[0]
        self._made = {int(index): place for place, item in enumerate(self._float.operators) for index in item.outputs}
        known = [*self._float.inputs, *self._made]
        self._tensors = {tensor_name(self._float.tensors[index]): int(index) for index in reversed(known)}
        self._read = [_read(self._float), _read(self._graph)]
        self._aliases: dict[int, int] = {}
        for item in self._graph.operators:
            name = self.name(quantized, item)
            if name == "DEQUANTIZE" and not is_constant(quantized, self._graph.tensors[item.inputs[0]]):
                self._aliases[int(item.inputs[0])] = int(item.outputs[0])
            elif name == "QUANTIZE":
                self._aliases[int(item.outputs[0])] = int(item.inputs[0])
        self._tensors |= self._counted_on()

    def _counted_on(self) -> dict[str, int]:
        """Return name in the quantized model -> tensor of the float model, for names that differ in the number at their end.

        Only where there is one of the kind in either model that the other one has not.
        """
        computed = [item for item in self._graph.operators if self.name(self._quantized, item) not in BOUNDARY]
        ours = {tensor_name(self._graph.tensors[index]) for item in computed for index in item.outputs}
        known = ours | {tensor_name(self._graph.tensors[index]) for index in self._aliases.values()}
        left = {name: index for name, index in self._tensors.items() if index in self._made and name not in known}
        found = _by_stem(ours - set(self._tensors))
        return {found[stem]: left[name] for stem, name in _by_stem(left).items() if stem in found}

    @staticmethod
    def name(model: Any, operator: Any) -> str:
        """Return LiteRT's name of an operator."""
        return operator_name(model.operatorCodes[operator.opcodeIndex])

    def conversion(self, operator: Any) -> Pair | None:
        """Return what a QUANTIZE stands for: a tensor of the float model as it is."""
        source, result = int(operator.inputs[0]), int(operator.outputs[0])
        found = self._tensor(result)
        return None if found is None else Pair("QUANTIZE", None, ((found, result),), ((source, source),), comparable=True)

    def operator(self, name: str, operator: Any) -> Pair | None:
        """Return the float operator with the same first output."""
        outputs = [(self._tensor(int(index)), int(index)) for index in operator.outputs]
        found = tuple((one, other) for one, other in outputs if one is not None and self._is_read(one, other))
        if not found or found[0][0] not in self._made:
            return None
        place = self._made[found[0][0]]
        twin = self._float.operators[place]
        inputs = tuple(self._inputs(twin, operator))
        alike = self.name(self._float_model, twin) == name and len(twin.outputs) == len(operator.outputs)
        return Pair(name, place, found, inputs, alike and all(other >= 0 for _, other in inputs))

    def _inputs(self, twin: Any, operator: Any) -> Iterator[tuple[int, int]]:
        """Yield what both read, slot by slot; -1 where the quantized operator has nothing that varies there."""
        for slot, index in enumerate(twin.inputs):
            if index < 0 or is_constant(self._float_model, self._float.tensors[index]):
                continue
            other = int(operator.inputs[slot]) if slot < len(operator.inputs) else -1
            if other >= 0 and is_constant(self._quantized, self._graph.tensors[other]):
                other = -1
            yield int(index), other

    def _is_read(self, one: int, other: int) -> bool:
        """Return whether both have values: what nothing reads gets no memory."""
        return one in self._read[0] and other in self._read[1]

    def _tensor(self, index: int) -> int | None:
        """Return the float model's tensor that a tensor of the quantized model stands for."""
        looked_at = [index]
        while looked_at[-1] in self._aliases and len(looked_at) < 4:
            looked_at.append(self._aliases[looked_at[-1]])
        names = [tensor_name(self._graph.tensors[item]) for item in looked_at]
        return next((self._tensors[name] for name in names if name in self._tensors), None)


def _by_stem(names: Iterable[str]) -> dict[str, str]:
    """Return name without the digits at its end -> name, where there is one such name."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.rstrip(string.digits), []).append(name)
    return {stem: alike[0] for stem, alike in found.items() if len(alike) == 1}


def _read(graph: Any) -> set[int]:
    return {int(index) for operator in graph.operators for index in operator.inputs} | {int(index) for index in graph.outputs}


def float_readers(model: Any) -> dict[int, tuple[int, ...]]:
    """Return tensor -> the operators of the main graph that read it, by number."""
    readers: dict[int, list[int]] = {}
    for place, operator in enumerate(model.subgraphs[0].operators):
        for index in dict.fromkeys(int(item) for item in operator.inputs if item >= 0):
            readers.setdefault(index, []).append(place)
    return {tensor: tuple(places) for tensor, places in readers.items()}


def names_of(model: Any, place: int) -> tuple[str, tuple[str, ...]]:
    """Return what a rule knows an operator of the main graph by: LiteRT's name, and its output tensors."""
    graph = model.subgraphs[0]
    found = place_of(model, graph, graph.operators[place])
    return found.operator, found.tensors
