"""What the classes are called, and how their scores are shown, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mlkit_build.recipe.mandatory import MANDATORY
from mlkit_build.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What the classes are called. In a recipe the path of a text file, or a mapping.

    Attributes:
        path: A text file with one class per line, or with `column` a CSV file with one per row, in the order of the model's
            outputs; relative to the recipe's folder.
        column: The column of a CSV file whose first row names its columns.
        delimiter: What separates the columns.
        from_dataset: Take the classes of `dataset` in place of a file: its `classes`, the folders of an `image_folder` or a
            `wav_folder`, or the names of a class label of `tfds`.
        locales: Language, e.g. `de` or `en-US` -> a file like `path` with the names in that language, or with `column` another
            column of the same file.
    """

    path: str | None = None
    column: str | None = None
    delimiter: str = ","
    from_dataset: bool = False
    locales: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How scores of different classes are made comparable.

    Attributes:
        path: A CSV file without header, a line per label: `scale,slope,offset` or `scale,slope,offset,min_score`; an empty line
            gives a class the default score always. Relative to the recipe's folder.
        transformation: What is done to a score before: `identity`, `log` or `inverse_logistic`.
        default_score: What a score below its class's `min_score` becomes.
    """

    path: str = MANDATORY
    transformation: str = "identity"
    default_score: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What the file says to ML Kit beyond what follows from the rest of the recipe.

    Attributes:
        score_threshold: Results below this score are not shown, unless the app states a threshold of its own.
        score_calibration: What becomes of the scores before that.
    """

    score_threshold: float | None = None
    score_calibration: Calibration | None = None
