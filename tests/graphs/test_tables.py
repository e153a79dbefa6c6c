"""A model that looks something up in a table is refused by that, whoever saved it, with where to cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import StageError
from mlkit_build.sources.live import open_live
from mlkit_build.stages.freeze import freeze_model
from mlkit_build.stages.params import FreezeInput, FreezeParams
from tests.graphs.tf2 import frozen
from tests.sources.tf1 import request, run_frozen


def keras_model() -> Any:
    import keras

    words = keras.Input((1,), dtype="string", name="word")
    indices = keras.layers.StringLookup(vocabulary=["a", "b", "c"], name="words")(words)
    return keras.Model(words, keras.layers.Embedding(5, 3, name="vectors")(indices))


def module(keys: Any) -> Any:
    import tensorflow as tf

    class Table(tf.Module):
        def __init__(self) -> None:
            values = tf.constant([0, 1], tf.int64)
            self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)

        @tf.function(input_signature=[tf.TensorSpec([2], tf.as_dtype(np.asarray(keys).dtype), name="word")])
        def __call__(self, word: Any) -> Any:
            return self.table.lookup(word) + 1

    return Table()


def freeze(model: Any, **inputs: FreezeInput) -> Any:
    return freeze_model(open_live(model, "notebook", "export"), FreezeParams(request({}, {}).source, inputs, {}))


def test_a_string_lookup_of_keras_is_refused_and_the_cut_that_is_proposed_freezes() -> None:
    model = keras_model()
    with pytest.raises(
        StageError, match=r"the model looks up strings in a table \(LookupTableFindV2 .*\), which LiteRT"
    ) as caught:
        freeze(model)
    tensor = caught.value.hint.partition('tensor: "')[2].partition('"')[0]
    cut = freeze(model, indices=FreezeInput(tensor, (1, 1)))
    np.testing.assert_array_equal(run_frozen(cut, {"indices": np.array([[2]])})[0], model.get_layer("vectors")(np.array([[2]])))


def test_a_table_of_numbers_is_refused_too() -> None:
    import tensorflow as tf

    with pytest.raises(StageError, match=r"the model looks up values in a table \(LookupTableFindV2 "):
        freeze(module(tf.constant([3, 5], tf.int64)))


def test_a_lookup_inside_of_a_saved_function_cannot_be_cut_at_and_is_said_to_be_exported_without(tmp_path: Path) -> None:
    import tensorflow as tf

    table = module(["a", "b"])
    tf.saved_model.save(table, str(tmp_path / "model"), signatures=table.__call__)
    with pytest.raises(StageError, match="looks up strings in a table") as caught:
        frozen(tmp_path / "model")
    assert "export the model again without it, taking the indices as its input" in caught.value.hint
