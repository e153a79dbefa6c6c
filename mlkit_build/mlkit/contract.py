"""The contract of each target, checked on the signature before anything is converted.

ML Kit's image labeling and object detection run a classifier through the TensorFlow Lite Task Library; the quoted sentences
are what the app would log (repository tensorflow/tflite-support, `image_classifier.cc` and `image_tensor_specs.cc`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlkit_build.errors import ConfigError
from mlkit_build.recipe import ML_KIT_TARGETS
from mlkit_build.signature import FrozenSignature


@dataclass(frozen=True)
class Subject:
    """What a rule looks at.

    Attributes:
        signature: The frozen signature.
        io: The type that float inputs and outputs will have in the shipped model.
        normalized: Inputs with mean and std.
    """

    signature: FrozenSignature
    io: str
    normalized: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """One demand of the Task Library.

    Attributes:
        id: A stable name.
        broken: Returns what was found when the rule is broken, else None.
        expected: What the rule wants.
        says: What the app would log.
        fix: What to change in the recipe.
    """

    id: str
    broken: Callable[[Subject], str | None]
    expected: str
    says: str
    fix: str


def _inputs(subject: Subject) -> str | None:
    names = [spec.name for spec in subject.signature.inputs]
    return f"the inputs {', '.join(names)}" if len(names) != 1 else None


def _rank(subject: Subject) -> str | None:
    spec = subject.signature.inputs[0]
    return f"{spec.name} {list(spec.shape)}" if len(spec.shape) != 4 else None


def _image_shape(subject: Subject) -> str | None:
    spec = subject.signature.inputs[0]
    fits = spec.shape[0] == 1 and spec.shape[3] == 3
    return None if fits else f"{spec.name} {list(spec.shape)}"


def _input_type(subject: Subject) -> str | None:
    spec = subject.signature.inputs[0]
    found = subject.io if spec.dtype == "float32" else spec.dtype
    return None if found in ("float32", "uint8") else f"{spec.name} of type {found}"


def _normalization(subject: Subject) -> str | None:
    spec = subject.signature.inputs[0]
    floating = spec.dtype == "float32"
    return f"{spec.name} without mean and std" if floating and spec.name not in subject.normalized else None


def _output_shape(subject: Subject) -> str | None:
    for spec in subject.signature.outputs:
        shape = spec.shape
        if not (len(shape) == 2 or (len(shape) == 4 and shape[1:3] == (1, 1))) or shape[0] != 1:
            return f"{spec.name} {list(shape)}"
    return None


def _output_type(subject: Subject) -> str | None:
    for spec in subject.signature.outputs:
        if spec.dtype not in ("float32", "uint8"):
            return f"{spec.name} of type {spec.dtype}"
    return None


RULES = (
    Rule(
        "single-input", _inputs, "one input", "Models are assumed to have a single input.",
        "feed the others in signature.constants",
    ),
    Rule(
        "input-rank", _rank, "a 4-D input [1, height, width, 3]", "Only 4D tensors in BHWD layout are supported.",
        "give the image input in signature.inputs",
    ),
    Rule(
        "input-shape", _image_shape, "an input [1, height, width, 3]",
        "The input tensor should have dimensions 1 x height x width x 3.",
        "for a model of grey images add `adapters: [rgb_to_grayscale]`",
    ),
    Rule(
        "input-type", _input_type, "a uint8 or float32 input",
        "Type mismatch for input tensor. Requested one of these types: kTfLiteUint8/kTfLiteFloat32.",
        "use quantization.io=uint8 or quantization.io=float32",
    ),
    Rule(
        "normalization", _normalization, "mean and std for a floating-point image",
        "Input tensor has type kTfLiteFloat32: it requires specifying NormalizationOptions metadata to preprocess input images.",
        "state the training's values: `mean: [127.5], std: [127.5]` for -1..1, `mean: [0], std: [255]` for 0..1",
    ),
    Rule(
        "output-shape", _output_shape, "scores [1, classes]",
        "Unexpected number of dimensions for output index 0: expected either 2D (BxN with B=1) or 4D (BxHxWxN with B=1, W=1, "
        "H=1).",
        "name the class scores in signature.outputs; ML Kit runs classifiers only, detectors fail",
    ),
    Rule(
        "output-type", _output_type, "float32 or uint8 scores", "Got 0 quantized output(s), expected 1",
        "name the tensor of the scores, before an ArgMax, in signature.outputs",
    ),
)  # fmt: skip


def check_signature(task: str, subject: Subject) -> tuple[str, ...]:
    """Return the ids of the rules that hold, in order; `custom` has none.

    Raises:
        ConfigError: The first rule that is broken, with ML Kit's own sentence.
    """
    if task not in ML_KIT_TARGETS:
        return ()
    for rule in RULES:
        found = rule.broken(subject)
        if found is not None:
            raise ConfigError(
                f"target.task: {task} expects {rule.expected}, found {found}; in the app ML Kit would say: {rule.says}",
                rule.fix,
            )
    return tuple(rule.id for rule in RULES)


def check_labels(labels: tuple[str, ...], path: str, signature: FrozenSignature, output: str | None) -> None:
    """Compare the number of labels with the number of classes.

    Raises:
        ConfigError: They differ.
    """
    spec = next((spec for spec in signature.outputs if spec.name == output), signature.outputs[0])
    if spec.size != len(labels):
        raise ConfigError(
            f"labels: {path}: expected {spec.size} labels, one for each class of the output {spec.name!r}, found {len(labels)}; "
            f"in the app ML Kit would say: Got {spec.size} class(es) for output index 0, expected {len(labels)} according to "
            "the label map.",
            "each line is a class, in the order of the model's outputs",
        )
