"""What is likely wrong with a file that an app gets other labels from than validation did, and how to try each."""

from __future__ import annotations

from collections.abc import Mapping

from mlkit_build.mlkit.app_model import AppModel
from mlkit_build.recipe import Input
from mlkit_build.records import dataclass

Normalization = tuple[tuple[float, ...], tuple[float, ...]]

USUAL: tuple[Normalization, ...] = (
    ((0.0,), (1.0,)),
    ((0.0,), (255.0,)),
    ((127.5,), (127.5,)),
    ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
)
"""Pixels as they are, in 0..1, in -1..1, and what models trained on ImageNet take: PyTorch's and Caffe's."""


@dataclass(frozen=True)
class Suspect:
    """What may be wrong, and how to feed and read the file as if it were right.

    Attributes:
        instead: What is done instead, to continue "with".
        hint: What to do if that was it.
        normalization: In place of the file's.
        swapped: Whether red and blue are exchanged.
        shift: How many lines further down the label is read.
        calibrates: Whether scores are calibrated where the file says how.
    """

    instead: str
    hint: str
    normalization: Normalization | None = None
    swapped: bool = False
    shift: int = 0
    calibrates: bool = True

    @property
    def fed(self) -> tuple[Normalization | None, bool, bool]:
        """What of it decides the file's scores."""
        return self.normalization, self.swapped, self.calibrates


AS_IS = Suspect("", "")
IN_UNIT = Suspect(
    "pixels in 0..255, as an app feeds them,", "the dataset's are in 0..1: multiply them by 255; mean and std apply to 0..255"
)
"""The file is right, and the dataset is not what an app feeds."""


def suspects_of(stated: Mapping[str, Input], model: AppModel, *, in_unit: bool) -> list[Suspect]:
    """Return what may be wrong, the likely first.

    Args:
        stated: Mean and std as the recipe states them.
        in_unit: Whether the samples lie in 0..1.
    """
    suspects = []
    if model.normalization is not None:
        pairs = [(spec.mean, spec.std) for spec in stated.values() if spec.mean is not None and spec.std is not None]
        if in_unit:
            scaled = dict.fromkeys((_times_255(mean), _times_255(std)) for mean, std in (*pairs, model.normalization))
            suspects += [_normalized(pair, model.normalization, _SCALED) for pair in scaled if pair != model.normalization]
        others = [pair for pair in dict.fromkeys((*pairs, *USUAL, *_halves(model.normalization))) if pair != model.normalization]
        channels = model.shape[-1]
        usable = [pair for pair in others if {len(pair[0]), len(pair[1])} <= {1, channels}]
        suspects += [_normalized(pair, model.normalization, _NOT_THOSE) for pair in usable]
    if model.shape[-1] == 3:
        wrong = "ML Kit feeds RGB: give the model the adapter that it lacks, `adapters: [bgr_to_rgb]`"
        suspects.append(Suspect("red and blue exchanged, as BGR,", wrong, swapped=True))
    if model.calibrated:
        hint = "metadata.score_calibration changes which class is best: fit it to this model's own scores, in the labels' order"
        suspects.append(Suspect("the scores as the model gives them, not calibrated,", hint, calibrates=False))
    for shift, fault in ((1, "begin with a class too many"), (-1, "lack the first class")):
        way = "down" if shift > 0 else "up"
        hint = f"the file's labels are shifted by one: they {fault}; one line per class, in the order of the outputs"
        suspects.append(Suspect(f"the labels read one line further {way}", hint, shift=shift))
    return suspects


_NOT_THOSE = (
    "the file's NormalizationOptions are wrong: state mean and std in signature.inputs as in training, which may be others still"
)
_SCALED = "an app feeds pixels in 0..255, the dataset's are in 0..1: multiply them by 255, and mean and std too"


def _halves(stated: Normalization) -> list[Normalization]:
    """Return what is usual with one half as it is stated: often only the mean is wrong, or only the std."""
    return [pair for mean, std in USUAL for pair in ((mean, stated[1]), (stated[0], std))]


def _normalized(pair: Normalization, stated: Normalization, hint: str) -> Suspect:
    return Suspect(f"{_as_text(pair)} in place of the metadata's {_as_text(stated)},", hint, normalization=pair)


def _as_text(pair: Normalization) -> str:
    """Return mean and std as a recipe states them."""
    mean, std = (f"[{', '.join(f'{value:g}' for value in values)}]" for values in pair)
    return f"mean {mean} and std {std}"


def _times_255(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(255 * value for value in values)
