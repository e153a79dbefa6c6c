"""A variable that the model writes while it answers is state, and no graph of constants keeps state: it is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlkit_build.errors import StageError
from mlkit_build.graphs import OpenedModel
from mlkit_build.sources.live import open_live
from mlkit_build.stages.freeze import freeze_model
from mlkit_build.stages.params import FreezeParams
from tests.graphs.tf2 import frozen, saved
from tests.sources.tf1 import request, session


def freeze(model: OpenedModel) -> Any:
    return freeze_model(model, FreezeParams(request({}, {}).source, {}, {}))


def test_a_saved_model_that_updates_its_state_is_refused_by_the_variables_name(tmp_path: Path) -> None:
    def streaming(module: Any, x: Any) -> Any:
        module.state.assign(0.5 * module.state + x)
        return module.state + x

    saved(streaming, tmp_path / "model", [1, 2], state=[[0.0, 0.0]])
    with pytest.raises(StageError, match=r"the model writes its variable .* while it answers \(AssignVariableOp") as caught:
        frozen(tmp_path / "model")
    assert "take the state as an input" in caught.value.hint


def test_a_stateful_keras_lstm_is_refused_and_a_plain_one_is_not() -> None:
    import keras

    def model(stateful: bool) -> Any:
        inputs = keras.Input(batch_shape=(1, 5, 3), name="x")
        return keras.Model(inputs, keras.layers.LSTM(4, stateful=stateful)(inputs))

    with pytest.raises(StageError, match="the model writes its variable"):
        freeze(open_live(model(True), "notebook", "export"))
    assert freeze(open_live(model(False), "notebook", "export")).signature.outputs[0].shape == (1, 4)


@pytest.mark.parametrize("resource", [True, False], ids=["resource variable", "reference variable"])
def test_a_session_whose_output_waits_for_an_assignment_to_what_it_reads_is_refused(resource: bool) -> None:
    with session() as (tf1, running):
        x = tf1.placeholder("float32", [1, 2], name="x")
        v = tf1.get_variable("v", [], use_resource=resource)
        with tf1.control_dependencies([v.assign_add(tf1.reduce_sum(x))]):
            y = tf1.multiply(x, v.read_value(), name="y")
        running.run(tf1.global_variables_initializer())
        with pytest.raises(StageError, match="the model writes its variable 'v'"):
            freeze(open_live((running, {"x": x}, {"y": y}), "notebook", "export"))


def test_a_counter_that_no_answer_depends_on_is_left_out() -> None:
    with session() as (tf1, running):
        x = tf1.placeholder("float32", [1, 2], name="x")
        v = tf1.get_variable("v", [], use_resource=True)
        calls = tf1.get_variable("calls", [], use_resource=True)
        with tf1.control_dependencies([calls.assign_add(1.0)]):
            y = tf1.multiply(x, v.read_value(), name="y")
        running.run(tf1.global_variables_initializer())
        model = freeze(open_live((running, {"x": x}, {"y": y}), "notebook", "export"))
    assert not [node.name for node in model.graph_def.node if "calls" in node.name]
