"""`cast_input`: the app feeds another type than the model was trained on, e.g. uint8 pixels to a float32 model.

The values stay what they are: a model that wants other numbers than raw pixels needs `normalize` before. An int8 model with
uint8 pixels comes from `quantization.io: uint8`, which adds 128; here a float CAST stays before the integers.
"""

from __future__ import annotations

import numpy as np

from mlkit_build.adapters import FrozenModel
from mlkit_build.adapters.options import CASTS, CastInputOptions
from mlkit_build.adapters.stitching import chosen_input, replace_input, unfit


def adapt(model: FrozenModel, options: CastInputOptions) -> FrozenModel:
    """Give an input another type, each of whose values the old type can hold.

    Raises:
        ConfigError: The old type cannot, or is the same.
    """
    import tensorflow as tf

    old = chosen_input(model, options.input, "cast_input")
    held = [name for name in CASTS if name != old.dtype and np.can_cast(name, tf.as_dtype(old.dtype).as_numpy_dtype)]
    if options.dtype not in held:
        hint = f"expected one of {', '.join(held)}" if held else "drop the adapter"
        raise unfit("cast_input", f"an input of another type that holds every {options.dtype}", old, hint)
    return replace_input(model, old, "cast_input", lambda fed: tf.cast(fed, old.dtype, name="cast"), dtype=options.dtype)
