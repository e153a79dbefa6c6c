"""`softmax`: turns logits into scores in 0..1 that sum to 1. ML Kit applies none and would show confidences like 3.04."""

from __future__ import annotations

from mlkit_build.adapters import FrozenModel
from mlkit_build.adapters.options import OutputOptions
from mlkit_build.adapters.scores import append_scores
from mlkit_build.adapters.stitching import chosen_output, unfit


def adapt(model: FrozenModel, options: OutputOptions) -> FrozenModel:
    """Append a softmax over the last axis of an output.

    Raises:
        ConfigError: The output has one class, is not floating point, or is scores already.
    """
    import tensorflow as tf

    output = chosen_output(model, options.output, "softmax")
    if not output.dtype.startswith("float") or not output.shape or output.shape[-1] < 2:
        raise unfit(
            "softmax",
            "floating-point logits of at least two classes",
            output,
            "name the tensor of the logits in signature.outputs, put argmax_to_logits before it, or drop the adapter"
            if output.dtype.startswith("int")
            else "use sigmoid for a single score, or name the tensor of the logits in signature.outputs",
        )
    return append_scores(model, output, "softmax", tf.nn.softmax)
