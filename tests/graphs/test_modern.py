"""Operators of old graphs that do not convert are said in those of today, and compute the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.stages.freeze import freeze_graph
from tests.sources.tf1 import constants_only, digits, loaded, request, run_frozen


def printed(tf1: Any, x: Any) -> Any:
    return tf1.Print(x, [x, x * 2.0], "x is")


def normalized(tf1: Any, x: Any) -> Any:
    scale, offset, mean, variance = (tf1.constant(digits(1, [3], seed)[0] ** 2 + 0.5) for seed in range(4))
    return tf1.raw_ops.FusedBatchNormV2(
        x=x, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=0.01, is_training=False
    ).y


def accumulated(tf1: Any, x: Any) -> Any:
    return tf1.raw_ops.AccumulateNV2(inputs=[x, x * 2.0, x - 1.0], shape=[1, 4, 4, 3])


def clipped(tf1: Any, x: Any) -> Any:
    return tf1.raw_ops.ClipByValue(t=x, clip_value_min=-0.3, clip_value_max=0.25)


def checked(tf1: Any, x: Any) -> Any:
    return tf1.check_numerics(x, "not finite")


@pytest.mark.parametrize("old", [printed, normalized, accumulated, clipped, checked], ids=lambda old: old.__name__)
def test_an_old_operator_is_replaced_by_one_that_converts_and_computes_the_same(
    old: Callable[[Any, Any], Any], tmp_path: Path
) -> None:
    from mlkit_build.graphs.operators import unconvertible

    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 4, 4, 3], name="x")
        tf1.identity(old(tf1, x) + 1.0, name="y")

    x = digits(1, [4, 4, 3])
    graph_def, (expected,) = constants_only(build, {"x:0": x}, ["y:0"])
    model = freeze_graph(loaded(graph_def), request({"x": "x:0"}, {"y": "y:0"}))
    assert not unconvertible(model.graph_def)
    np.testing.assert_allclose(run_frozen(model, {"x": x})[0], expected, atol=1e-6)
