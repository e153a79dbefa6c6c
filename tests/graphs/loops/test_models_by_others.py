"""Keyword spotting nets and MNIST nets that others trained with TensorFlow 1; see models/README.md in the shared folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import StageError
from mlkit_build.graphs import TensorName, canonical_form, constant_node, needed_nodes, placeholder_node, switch_off_dropout
from mlkit_build.graphs.loops import has_loops, without_loops
from tests.graphs.loops.v1 import converted, run_lite, values
from tests.sources.tf1 import run_graph

Find = Callable[[str], Path]


def cut(path: Path, inputs: dict[str, tuple[int, ...]], output: str, constants: dict[str, Any] | None = None) -> Any:
    """Return what lies between placeholders in place of `inputs` and `output`, as freezing does."""
    import tensorflow as tf

    whole = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    nodes = {node.name: node for node in whole.node}
    nodes.update({name: placeholder_node(name, "float32", shape) for name, shape in inputs.items()})
    nodes.update({name: constant_node(name, np.asarray(value, np.float32)) for name, value in (constants or {}).items()})
    part = tf.compat.v1.GraphDef(versions=whole.versions)
    part.node.extend(nodes[name] for name in needed_nodes(nodes, [output], list(inputs)))
    return part


@pytest.mark.parametrize("unroll", ["auto", "never"])
@pytest.mark.parametrize("name", ["kws_lstm", "kws_gru"])
def test_keyword_spotting_nets_convert_and_agree_with_tensorflow(name: str, unroll: str, shared_model: Find) -> None:
    graph_def = cut(shared_model(f"frozen_graph/{name}.pb"), {"Mfcc": (1, 25, 10)}, "labels_softmax")
    assert has_loops(graph_def)
    output = TensorName("labels_softmax")
    frozen = canonical_form(without_loops(graph_def, [output], unroll=unroll), [output])
    model = converted(frozen, ["Mfcc:0"], [str(output)])
    for seed in range(3):
        features = values(1, 25, 10, seed=seed, scale=5.0)
        (expected,) = run_graph(graph_def, {"Mfcc:0": features}, [str(output)])
        (found,) = run_lite(model, [features])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["mnist_lstm", "mnist_gru"])
def test_nets_that_were_unrolled_when_they_were_built_are_left_alone(name: str, shared_model: Find) -> None:
    path, output = shared_model(f"frozen_graph/{name}.pb"), TensorName("output")
    graph_def = cut(path, {"X": (1, 784)}, "output", {"keep_prob": 1.0})
    assert without_loops(graph_def, [output]) is graph_def
    frozen = canonical_form(switch_off_dropout(graph_def, [output]), [output])
    image = np.abs(values(1, 784))
    (expected,) = run_graph(graph_def, {"X:0": image}, [str(output)])
    (found,) = run_lite(converted(frozen, ["X:0"], [str(output)]), [image])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_face_detector_whose_branches_depend_on_the_faces_found_says_so(shared_model: Find) -> None:
    path = shared_model("frozen_graph/mtcnn.pb")
    constants = {"min_size": 40.0, "factor": 0.709, "thresholds": [0.6, 0.7, 0.7]}
    graph_def = cut(path, {"input": (128, 128, 3)}, "box", constants)
    with pytest.raises(StageError, match=r"'[pro]net/cond.*/Merge.*' depends on data \(input:0\)") as caught:
        without_loops(graph_def, [TensorName("box")])
    assert "signature" in caught.value.hint
