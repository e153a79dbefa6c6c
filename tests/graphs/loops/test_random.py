"""Random small programs of loops, branches and arrays: whatever they do, the graph without loops does the same."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.graphs.loops.v1 import case, check_lite, values

SIZE = 3


@dataclass
class Program:
    """Writes a random graph over vectors of three numbers, all of them within -1..1.

    Attributes:
        tf1: Where its operators come from.
        random: What decides.
        on_data: Whether data may decide, too.
    """

    tf1: Any
    random: random.Random
    on_data: bool

    def block(self, known: list[Any], depth: int, step: Any) -> Any:
        """Return a vector computed from the known ones."""
        known = list(known)
        for _ in range(self.random.randint(1, 3)):
            kinds = ["plain", "plain", "constant"] + (["loop", "array", "cond", "map", "handed on"] if depth else [])
            known.append(self.statement(self.random.choice(kinds), known, depth, step))
        return self.tf1.tanh(known[-1] + self.random.choice(known))

    def statement(self, kind: str, known: list[Any], depth: int, step: Any) -> Any:
        tf1, x = self.tf1, self.random.choice(known)
        if kind == "constant":
            return tf1.constant(values(SIZE, seed=self.random.randint(0, 99)))
        if kind == "plain":
            weight = tf1.constant(values(SIZE, SIZE, seed=self.random.randint(0, 99)))
            y = tf1.squeeze(tf1.matmul(tf1.expand_dims(x, 0), weight), 0)
            return tf1.sin(y + tf1.cast(step, "float32") if self.random.random() < 0.3 else y)
        if kind == "cond":
            return tf1.cond(
                self.predicate(x, step),
                lambda: self.block(known, depth - 1, step),
                lambda: self.block(known, depth - 1, step),
            )
        if kind == "map":
            rows = tf1.stack([x, self.random.choice(known)])
            return tf1.reduce_sum(tf1.map_fn(lambda row: self.block([row, x], depth - 1, step), rows), 0)
        steps = self.random.choice([0, 1, 2, 3])
        if kind == "array":
            return self.array(known, depth, max(steps, 1))
        other = self.random.choice(known)
        carry = (lambda a, b: (b, a)) if kind == "handed on" else (lambda a, b: (a, b))
        body = lambda i, a, b: (i + 1, *carry(self.block([*known, a, b], depth - 1, i), b))  # noqa: E731
        return tf1.while_loop(self.condition(steps), body, (0, x, other))[1 + self.random.randint(0, 1)]

    def condition(self, steps: int) -> Any:
        if self.on_data and self.random.random() < 0.4:
            return lambda i, a, b: self.tf1.logical_and(i < steps, self.tf1.reduce_sum(a) < 1.0)
        return lambda i, a, b: i < steps

    def predicate(self, x: Any, step: Any) -> Any:
        if self.on_data and self.random.random() < 0.5:
            return x[0] > 0.1
        return self.tf1.equal(step % 2, self.random.randint(0, 1))

    def array(self, known: list[Any], depth: int, steps: int) -> Any:
        """Return a vector from an array that one loop fills and that is stacked, joined, or read by another loop."""
        tf1, x = self.tf1, self.random.choice(known)
        options = {"clear_after_read": False} | ({"element_shape": [SIZE]} if self.random.random() < 0.5 else {})
        array = tf1.TensorArray("float32", steps, infer_shape=self.random.random() < 0.8, **options)

        def body(i: Any, a: Any, y: Any) -> Any:
            y = self.block([*known, y], depth - 1, i)
            return i + 1, a.write(i, y), y

        _, array, last = tf1.while_loop(lambda i, a, y: i < steps, body, (0, array, x))
        use = self.random.choice(["stack", "concat", "gather", "read", "loop"])
        if use == "stack":
            return tf1.reduce_mean(tf1.reshape(array.stack(), [-1, SIZE]), 0)
        if use == "concat":
            return tf1.reduce_sum(tf1.reshape(array.concat(), [-1, SIZE]), 0)
        if use == "gather":
            return tf1.reduce_sum(tf1.reshape(array.gather([steps - 1, 0]), [-1, SIZE]), 0)
        if use == "read":
            return tf1.reshape(array.read(steps - 1), [SIZE]) - last
        summed = lambda i, y: (i + 1, tf1.tanh(y - tf1.reshape(array.read(steps - 1 - i), [SIZE])))  # noqa: E731
        return tf1.while_loop(lambda i, y: i < steps, summed, (0, x))[1]


def program(seed: int, *, on_data: bool) -> Any:
    def build(tf1: Any) -> Any:
        x, y = (tf1.placeholder("float32", [SIZE], name=name) for name in "xy")
        written = Program(tf1, random.Random(seed), on_data)
        return tf1.identity(written.block([x, y], 3, tf1.constant(1)) + x + y, name="z")

    return case(build, {"x": values(SIZE, seed=seed), "y": values(SIZE, seed=seed + 1)})


@pytest.mark.parametrize("seed", range(16))
def test_random_programs_compute_the_same(seed: int) -> None:
    built = program(seed, on_data=False)
    for unroll in ("always", "never", "2"):
        built.check(unroll, atol=1e-5)


@pytest.mark.parametrize("seed", range(100, 112))
def test_random_programs_that_data_steer_compute_the_same(seed: int) -> None:
    program(seed, on_data=True).check("auto", atol=1e-5)


@pytest.mark.parametrize("unroll", ["auto", "never"])
@pytest.mark.parametrize("seed", [3, 104])
def test_random_programs_convert(seed: int, unroll: str) -> None:
    check_lite(program(seed, on_data=seed > 99), unroll)


def test_random_programs_are_not_all_alike() -> None:
    sizes = {len(program(seed, on_data=True).graph_def.node) for seed in range(100, 106)}
    assert len(sizes) > 3
    assert np.ptp(sorted(sizes)) > 20
