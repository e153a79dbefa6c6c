"""`sigmoid`: turns logits into scores in 0..1, each for itself: one class against none, or classes that go together."""

from __future__ import annotations

from mlkit_build.adapters import FrozenModel
from mlkit_build.adapters.options import OutputOptions
from mlkit_build.adapters.scores import append_scores
from mlkit_build.adapters.stitching import chosen_output, unfit


def adapt(model: FrozenModel, options: OutputOptions) -> FrozenModel:
    """Append a sigmoid to an output.

    Raises:
        ConfigError: The output is not floating point, or is scores already.
    """
    import tensorflow as tf

    output = chosen_output(model, options.output, "sigmoid")
    if not output.dtype.startswith("float"):
        raise unfit("sigmoid", "floating-point logits", output, "name the tensor of the logits in signature.outputs")
    return append_scores(model, output, "sigmoid", tf.nn.sigmoid)
