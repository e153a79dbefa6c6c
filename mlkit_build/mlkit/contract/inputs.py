"""Rules of the input, and of what is said of it: `BuildInputImageTensorSpecs` of the Task Library."""

from __future__ import annotations

import math

from mlkit_build.mlkit.contract.rule import Broken
from mlkit_build.mlkit.contract.subject import Subject
from mlkit_build.mlkit.metadata_schema import ColorSpace
from mlkit_build.mlkit.stated_schema import CONTENTS, IMAGE, NORMALIZATION, Normalization


def single(subject: Subject) -> Broken | None:
    names = [port.name for port in subject.inputs]
    found = f"the inputs {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "no input"
    return Broken(found) if len(names) != 1 else None


def rank(subject: Subject) -> Broken | None:
    image = subject.image
    return Broken(f"{image.name} {list(image.shape)}") if image and len(image.shape) != 4 else None


def kind(subject: Subject) -> Broken | None:
    image = subject.image
    if image is None or image.dtype in ("float32", "uint8"):
        return None
    fix = "" if image.dtype in ("int8", "float16") else "add `adapters: [{cast_input: {dtype: uint8}}]`"
    return Broken(f"{image.name} of type {image.dtype}", (image.name, image.dtype.upper()), fix=fix)


def shape(subject: Subject) -> Broken | None:
    image = subject.image
    if image is None or len(image.shape) != 4 or (image.shape[0] == 1 and image.shape[3] == 3):
        return None
    fix = ""
    if image.shape[0] != 1:
        fix = f"state one image in signature.inputs.{image.name}.shape: [1, {', '.join(map(str, image.shape[1:]))}]"
    elif image.shape[3] == 1:
        fix = "for a model of grey images add `adapters: [rgb_to_grayscale]`"
    elif image.shape[1] == 3:
        fix = f"for a model with channels first add `adapters: [{{nchw_to_nhwc: {{inputs: [{image.name}]}}}}]`"
    return Broken(f"{image.name} {list(image.shape)}", image.shape, fix=fix)


def size(subject: Subject) -> Broken | None:
    image = subject.image
    if image is None or len(image.shape) != 4:
        return None
    for says, axis in enumerate((2, 1)):
        if image.shape[axis] == 0:
            return Broken(f"{image.name} {list(image.shape)}", says=says)
    return None


def normalization(subject: Subject) -> Broken | None:
    image = subject.image
    return Broken(f"{image.name} without mean and std") if image and subject.normalizes and not subject.normalized else None


def normalization_values(subject: Subject) -> Broken | None:
    stated = _normalization(subject)
    if stated is None:
        return None
    if stated.mean is None or stated.std is None:
        return Broken("NormalizationOptions without mean or std", says=None)
    mean, std = len(stated.mean), len(stated.std)
    if mean != std:
        return Broken(f"{mean} of mean and {std} of std", (mean, std), says=1)
    if mean not in (1, 3):
        return Broken(f"{mean} of each", (mean,))
    if subject.normalizes and not all(stated.std):
        return Broken(f"std {list(stated.std)}", says=2)
    return None


def normalization_finite(subject: Subject) -> Broken | None:
    stated = _normalization(subject)
    values = [*(stated.mean or ()), *(stated.std or ())] if stated else []
    odd = [value for value in values if not math.isfinite(value)]
    return Broken(f"{odd[0]}") if odd else None


def content(subject: Subject) -> Broken | None:
    stated = subject.stated
    told = stated.inputs[0] if stated and stated.inputs and len(stated.inputs) == 1 else None
    if told is None or told.content is None or told.content.properties[0] == 0:
        return None
    number, properties = told.content.properties
    if number != IMAGE:
        name = CONTENTS[number] if number < len(CONTENTS) else str(number)
        return Broken(f"{told.name or '#0'} with {name}", (told.name or "#0", name), says=1)
    if properties is not None and properties.color_space != ColorSpace.RGB:
        names = {color.value: color.name for color in ColorSpace}
        found = f"an image of color space {names.get(properties.color_space, properties.color_space)}"
        return Broken(found, fix="" if properties.color_space != ColorSpace.GRAYSCALE else "add `adapters: [rgb_to_grayscale]`")
    return None


def _normalization(subject: Subject) -> Normalization | None:
    """Return the first NormalizationOptions of the input."""
    stated = subject.stated
    units = [unit.options for told in (stated.inputs or ())[:1] for unit in told.units] if stated else []
    return next((options for number, options in units if number == NORMALIZATION and options is not None), None)
