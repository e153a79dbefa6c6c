"""What a metric is asked and what it answers: the subject, a value with its interval and its test, a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from mlkit_build.records import dataclass
from mlkit_build.signature import TensorSpec

GREATEST = 1e300
"""Values may be as far from 0: a float then holds the difference of any two, and either as a percentage."""


@dataclass(frozen=True)
class PairedTest:
    """The shipped model against TensorFlow, sample by sample: what a drop of a share of samples is made of.

    Attributes:
        samples: How many there are.
        lost: TensorFlow has them right, the shipped model wrong.
        gained: The other way round.
        p_value: McNemar's test, mid-p, two-sided: how likely a change as uneven as this is if neither model is better.
        interval: The 95% interval of the drop.
    """

    samples: int
    lost: int
    gained: int
    p_value: float
    interval: tuple[float, ...]

    @classmethod
    def of(cls, lost: int, gained: int, samples: int) -> PairedTest:
        """Return the test of so many changed samples."""
        from mlkit_build.metrics.statistics import drop_interval, mcnemar

        low, high = drop_interval(lost, gained, samples)
        return cls(samples, lost, gained, significant(mcnemar(lost, gained), 3), (significant(low), significant(high)))

    @property
    def changed(self) -> int:
        """How many samples one of the two models has right and the other wrong."""
        return self.lost + self.gained


@dataclass(frozen=True)
class Measurement:
    """One measured value.

    Attributes:
        value: What the shipped model reaches.
        reference: What the TensorFlow model reaches on the same samples, where that means something.
        interval: Its 95% interval, of a share of samples.
        paired: The test against TensorFlow, of a share of samples.
        lower_is_better: Whether a smaller value is a better one.
        output: Which of several outputs it is of, where all are measured and this one is the worst.
    """

    value: float
    reference: float | None = None
    interval: tuple[float, ...] | None = None
    paired: PairedTest | None = None
    lower_is_better: bool = False
    output: str = ""

    @classmethod
    def share(cls, right: int, samples: int, reference_right: int | None = None, lost: int = 0) -> Measurement:
        """Return a share of samples with its interval, and with the test against TensorFlow.

        Args:
            right: How many samples count.
            samples: Of how many.
            reference_right: How many count with TensorFlow.
            lost: How many count with TensorFlow but not with the shipped model.
        """
        from mlkit_build.metrics.statistics import wilson

        low, high = wilson(right, samples)
        interval = (significant(low), significant(high))
        if reference_right is None:
            return cls(significant(right / samples), interval=interval)
        paired = PairedTest.of(lost, right - (reference_right - lost), samples)
        return cls(significant(right / samples), significant(reference_right / samples), interval, paired)

    @property
    def of_output(self) -> str:
        """Which of several outputs it is of, in words that follow the value: ` (of output 'scores')`; empty for a single one."""
        return f" (of output {self.output!r})" if self.output else ""

    @property
    def drop(self) -> float | None:
        """How much worse than the reference the value is; negative where it is better."""
        if self.reference is None:
            return None
        below = self.reference - self.value
        return significant(-below if self.lower_is_better and below else below)


@dataclass(frozen=True)
class Table:
    """What one number cannot say: a row per class, a matrix, a curve.

    Attributes:
        title: What people call it.
        columns: The names of the columns.
        rows: Numbers and texts, one for each column.
        form: How it is best shown: `rows`; `matrix` (row, column, value: what is left out is 0); `curve` (series, x, y).
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    form: str = "rows"


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        output: The output that is judged.
        samples: How many samples there are.
        origin: What to call the dataset in messages.
        sample: Returns what to call one of its samples.
        code: The files of the recipe's own metrics, by place in its folder.
        is_rounded: Whether the references are a quantized model's too, and not TensorFlow's.
        scores_of: What the values are class scores of, see `metrics.scored`; empty where they may be anything.
    """

    output: TensorSpec
    samples: int
    origin: str = "dataset"
    code: Mapping[str, Path] = field(default_factory=dict)
    is_rounded: bool = False
    sample: Callable[[int], str] = "sample {}".format
    scores_of: str = ""

    @property
    def classes(self) -> int:
        """The number of classes that its values are scores of: one value is the score of class 1 of two."""
        return max(2, self.output.size)


def tables_json(tables: Mapping[str, Table]) -> bytes:
    """Return the tables as indented JSON with a row on a line: a number on a line would be a very long file; deterministic."""
    texts = []
    for name, table in tables.items():
        head = {"title": table.title, "columns": table.columns, "form": table.form}
        parts = [f"    {json.dumps(key)}: {_spelled(value)}" for key, value in head.items()]
        rows = ",\n".join(f"      {_spelled(row)}" for row in table.rows)
        parts.append(f'    "rows": [\n{rows}\n    ]' if rows else '    "rows": []')
        texts.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(parts) + "\n  }")
    return (("{\n" + ",\n".join(texts) + "\n}\n") if texts else "{}\n").encode("utf-8")


def _spelled(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def significant(value: float, digits: int = 6) -> float:
    """Round to `digits` significant digits: what thread counts and vector units leave equal."""
    return float(f"{value:.{digits}g}")
