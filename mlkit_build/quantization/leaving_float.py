"""What leaving operators float recovers: the model is quantized once more with rules for them, and its outputs are compared.

Between integers, a float operator alone changes little where a range is to blame: its output is quantized again, with the same
range, for the next one. So in static modes an operator is also tried together with those that read what it makes, and where these
only hand values on, such as RESHAPE, with their readers in turn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlkit_build.errors import MlkitBuildError
from mlkit_build.quantization.attribution import LEAST_GAIN_DB, Trial
from mlkit_build.quantization.errors_by_operator import EXACT, decibels
from mlkit_build.quantization.matching import Pair, float_readers, names_of
from mlkit_build.recipe import Rule
from mlkit_build.records import dataclass

MOST_STEPS = 3
"""The most operators that the report proposes to leave float, with their readers."""
_EXACT_DB = 140.0
"""What no noise at all counts for."""

Quantize = Callable[[tuple[Rule, ...]], Path]
"""Rules beside the recipe's -> the model. Raises MlkitBuildError where that cannot be had."""
Judge = Callable[[Path], tuple[float, float | None]]
"""A model -> noise per signal of its outputs, and the share of samples whose highest output agrees."""


@dataclass(frozen=True)
class Suspect:
    """An operator to try, and the sets of float operators, by number, that are to stay float for it: the smallest first."""

    pair: int
    choices: tuple[frozenset[int], ...]


def suspects(model: Any, pairs: Sequence[Pair], lost: Sequence[float], tries: int, static: bool) -> list[Suspect]:
    """Return the operators that lose most themselves, at most `tries`, the worst first.

    Args:
        model: The float model.
        lost: How much noise per signal each adds, which unlike SQNR adds up along a net.
        static: Whether activations are integers.
    """
    graph = _Graph(model, pairs, lost)
    order = sorted((index for index, noise in enumerate(lost) if noise > 0), key=lambda index: -lost[index])
    listed = [Suspect(index, tuple(graph.choices(pairs[index], static))) for index in order]
    return [suspect for suspect in listed if suspect.choices][:tries]


class _Graph:
    def __init__(self, model: Any, pairs: Sequence[Pair], lost: Sequence[float]) -> None:
        self._operators = model.subgraphs[0].operators
        self._readers = float_readers(model)
        self._hands_on = {
            pair.place
            for pair, noise in zip(pairs, lost, strict=True)
            if pair.place is not None and pair.comparable and noise <= EXACT
        }

    def choices(self, pair: Pair, static: bool) -> Iterator[frozenset[int]]:
        alone = frozenset([pair.place] if pair.place is not None else [])
        if alone:
            yield alone
        if static:
            readers = self._reached([one for one, _ in pair.outputs])
            if readers - alone:
                yield alone | readers

    def _reached(self, tensors: Sequence[int]) -> frozenset[int]:
        """Return who reads the tensors, and through operators that only hand values on, who reads those."""
        reached: set[int] = set()
        waiting = list(tensors)
        while waiting:
            for place in self._readers.get(waiting.pop(), ()):
                if place not in reached:
                    reached.add(place)
                    if place in self._hands_on:
                        waiting += [int(index) for index in self._operators[place].outputs]
        return frozenset(reached)


class Trials:
    """Tries sets of operators, each once.

    Args:
        model: The float model.
        quantize: Makes the model with further rules.
        judge: Compares its outputs.
        sizes: In bytes, of the float model and of the model as it is.
        noise: Noise per signal of its outputs.
    """

    def __init__(self, model: Any, quantize: Quantize, judge: Judge, sizes: tuple[int, int], noise: float) -> None:
        self._names = [names_of(model, place) for place in range(len(model.subgraphs[0].operators))]
        float_bytes, self._size_bytes = sizes
        saved = float_bytes - self._size_bytes
        self._most_bytes = saved // 2 if saved > 0 else float_bytes
        self._quantize, self._judge = quantize, judge
        self._noise = noise
        self._done: dict[frozenset[int], Trial | None] = {}

    def of(self, places: frozenset[int]) -> Trial | None:
        """Return what leaving these operators float comes to; None where no such model can be had."""
        if places not in self._done:
            self._done[places] = self._tried(places)
        return self._done[places]

    def best_of(self, suspect: Suspect) -> Trial | None:
        """Return the choice that recovers most; one of more operators has to recover clearly more."""
        best: Trial | None = None
        for places in suspect.choices:
            trial = self.of(places)
            if trial is not None and (best is None or trial.gain_db > best.gain_db + LEAST_GAIN_DB / 2):
                best = trial
        return best

    def steps(self) -> list[Trial]:
        """Return what to leave float, of all that was tried, one after another, each with those before, as long as it pays.

        It never pays to leave more than half of the operators float, or to give back more than half of the bytes that were saved.
        """
        known = [(places, trial) for places, trial in self._done.items() if trial is not None]
        taken: frozenset[int] = frozenset()
        steps: list[Trial] = []
        attempts = 0
        for choice, alone in sorted(known, key=lambda item: (-item[1].gain_db, item[1].size_bytes)):
            if len(steps) == MOST_STEPS or attempts == 3 * MOST_STEPS:
                break
            if choice <= taken or 2 * len(taken | choice) > len(self._names) or alone.size_bytes > self._most_bytes:
                continue
            attempts += 1
            trial = self.of(taken | choice)
            gained = steps[-1].gain_db if steps else 0.0
            if trial is not None and trial.gain_db >= gained + LEAST_GAIN_DB and trial.size_bytes <= self._most_bytes:
                taken |= choice
                steps.append(trial)
        return steps

    def _tried(self, places: frozenset[int]) -> Trial | None:
        rules = tuple(self._rule(place) for place in sorted(places))
        try:
            path = self._quantize(rules)
            size_bytes = path.stat().st_size
            noise, agreeing = self._judge(path)
        except MlkitBuildError:
            return None
        before, after = decibels(self._noise), decibels(noise)
        gain = (_EXACT_DB if after is None else after) - (_EXACT_DB if before is None else before)
        return Trial(rules, after, round(gain, 2) + 0.0, agreeing, size_bytes - self._size_bytes)

    def _rule(self, place: int) -> Rule:
        """Return a rule for this operator: by the first node in its tensor's name, where that tells it from all others."""
        operator, tensors = self._names[place]
        short = f"^{_escaped(tensors[0].split(';')[0])}(;|$)"
        rivals = [names for name, names in self._names if name == operator]
        if sum(any(re.search(short, name) for name in names) for names in rivals) == 1:
            return Rule(operator=operator, tensor=short, mode="float32")
        return Rule(operator=operator, tensor=f"^{_escaped(tensors[0])}$", mode="float32")


def _escaped(name: str) -> str:
    """Return the name as a regular expression; `-` means itself outside of brackets."""
    return re.escape(name).replace(r"\-", "-")
