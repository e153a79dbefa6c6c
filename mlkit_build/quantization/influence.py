"""How much of the noise at a model's outputs each operator is to blame for: an estimate, to know which ones to look at first.

Noise per signal stays about what it is through a product or a function of one tensor. Where tensors are added or put side by
side it counts as much as the tensor does in the result: in the first steps of an unrolled LSTM the state is hardly more than its
own noise, and nothing of it is left in the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlkit_build.quantization.errors_by_operator import Found
from mlkit_build.quantization.matching import Pair, names_of

_SUMS = {"ADD", "ADD_N", "CONCATENATION", "PACK", "SUB", "SUM"}
_LARGEST = 1e9
"""What noise without any signal counts for."""


def losses(model: Any, pairs: Sequence[Pair], found: Sequence[Found]) -> list[float]:
    """Return for every pair how much noise per signal it adds to the outputs, about: unlike SQNR, that adds up along a net.

    Where one channel is far wider than the others, the tensor has little noise for its signal, and yet the others are lost in the
    steps that the wide one needs: only what reads them shows it. So an operator is to blame, too, for noise per signal that its
    reader neither adds nor finds in what it reads.

    Args:
        model: The float model.
        pairs: Its operators in the quantized model.
        found: What was measured of each.
    """
    reached = influences(model, {pair.outputs[0][0]: item.first.signal for pair, item in zip(pairs, found, strict=True)})
    weights = [max(reached.get(index, 0.0) for index, _ in pair.outputs) for pair in pairs]
    own = [min(item.own.noise_per_signal, _LARGEST) if item.own else 0.0 for item in found]
    total = [min(item.total.noise_per_signal, _LARGEST) for item in found]
    lost = [noise * weight for noise, weight in zip(own, weights, strict=True)]
    makers = _Makers(pairs)
    for number, pair in enumerate(pairs):
        sources = makers.of(pair)
        if not pair.comparable or not sources:
            continue
        noisiest = max(sources, key=lambda source: total[source])
        brought_out = (total[number] - own[number] - total[noisiest]) * weights[number]
        while own[noisiest] == 0 and makers.of(pairs[noisiest]):  # it only hands on what another made
            noisiest = makers.of(pairs[noisiest])[0]
        if own[noisiest] > 0:
            lost[noisiest] = max(lost[noisiest], brought_out)
    return lost


class _Makers:
    """Which pair makes what another reads: by the quantized tensor, or where that is only converted, the float one."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._quantized = {other: number for number, pair in enumerate(pairs) for _, other in pair.outputs}
        self._float = {one: number for number, pair in enumerate(pairs) for one, _ in pair.outputs}

    def of(self, pair: Pair) -> list[int]:
        """Return the numbers of the pairs that make what this one reads."""
        found = [
            self._quantized.get(other, self._float.get(one) if pair.place is not None else None) for one, other in pair.inputs
        ]
        return [number for number in found if number is not None]


def influences(model: Any, powers: Mapping[int, float]) -> dict[int, float]:
    """Return tensor -> the part of its noise per signal that is left at the outputs, 0..1, on the way that leaves most.

    Args:
        model: The float model.
        powers: Tensor -> the sum of its squares, as far as known.
    """
    graph = model.subgraphs[0]
    found = {int(index): 1.0 for index in graph.outputs}
    for place in reversed(range(len(graph.operators))):
        operator = graph.operators[place]
        reached = max((found.get(int(index), 0.0) for index in operator.outputs), default=0.0)
        whole = powers.get(int(operator.outputs[0])) if names_of(model, place)[0] in _SUMS else None
        for index in {int(item) for item in operator.inputs if item >= 0}:
            part = min(1.0, powers[index] / whole) if whole and index in powers else 1.0
            found[index] = max(found.get(index, 0.0), reached * part)
    return found
