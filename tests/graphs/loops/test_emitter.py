"""What is simplified without asking TensorFlow must not change a shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graphs.loops.v1 import case, values


@pytest.mark.parametrize("condition", [[True] * 3, [False] * 3, [[True]], True, [[False, True, True]]])
@pytest.mark.parametrize("shape", [(1,), (3,), (1, 1), (2, 3)])
def test_a_selection_by_a_constant_keeps_its_shape(condition: Any, shape: tuple[int, ...]) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", shape, name="x")
        chosen = tf1.where_v2(np.array(condition), x, -x)
        # Something with a loop, so that the graph is interpreted.
        return chosen + tf1.foldl(lambda a, b: a + b, tf1.zeros([2]))

    case(build, {"x": values(*shape)}).check()
