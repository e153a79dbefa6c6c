"""The forms that a model takes on its way to the app, and how far each is from the one that it was made of."""

from __future__ import annotations

from mlkit_build.metrics.values import samples_text
from mlkit_build.records import dataclass

SOURCE, FROZEN, FLOAT, SHIPPED = "source", "frozen graph", "float.tflite", "model.tflite"
"""What the forms are called."""
SAME_DB = 60.0
"""Forms that compute the same are at least so close: what rounding leaves is below a thousandth of the signal."""
WRONG_DB = 20.0
"""A form that only stores the one before it otherwise and is farther from it than that, a tenth of the signal, is wrong."""
_ROUNDING = 1e-6
"""Errors up to this are rounding, however weak the signal."""


@dataclass(frozen=True)
class Parting:
    """How far one output of one form is from the same output of the form before it.

    Attributes:
        output: Its name.
        dtype: Its type in the frozen graph.
        max_abs_error: Over all samples.
        sqnr_db: The signal's power over the error's, in dB.
        top1_changed: In how many samples the highest value is another one, where they are class scores; else 0.
    """

    output: str
    dtype: str
    max_abs_error: float
    sqnr_db: float
    top1_changed: int

    @property
    def parts(self) -> bool:
        """Whether more than rounding lies between the two."""
        return self.max_abs_error > _ROUNDING and (self.sqnr_db < SAME_DB or self.top1_changed > 0)


@dataclass(frozen=True)
class Hop:
    """Two forms, one made from the other.

    Attributes:
        before: The form that it was made from.
        after: What was made.
        outputs: How far each output moved; empty where the two were not compared.
        skipped: Why they were not compared.
    """

    before: str
    after: str
    outputs: tuple[Parting, ...] = ()
    skipped: str = ""

    @property
    def worst(self) -> Parting | None:
        """The output that moved the farthest."""
        return min(self.outputs, key=lambda item: item.sqnr_db, default=None)

    @property
    def parts(self) -> bool:
        """Whether more than rounding lies between the two."""
        return any(item.parts for item in self.outputs)


@dataclass(frozen=True)
class Hops:
    """Every form beside the one before it.

    Attributes:
        samples: How many samples went through all forms.
        hops: In the order of the build.
    """

    samples: int
    hops: tuple[Hop, ...]

    @property
    def first(self) -> Hop | None:
        """The first hop where two forms part; None where they never do."""
        return next((hop for hop in self.hops if hop.parts), None)

    def problem(self) -> str:
        """Return what is wrong with a form that should compute what the one before it does; empty where nothing is.

        Quantizing changes what a model computes, and gates say by how much it may. Freezing and converting must not.
        """
        for hop in self._exact:
            for item in hop.outputs:
                if item.parts and item.sqnr_db < WRONG_DB and item.dtype.startswith("float"):
                    return (
                        f"the {hop.after} does not compute what the {hop.before} does: on {samples_text(self.samples)} the "
                        f"output {item.output!r} is off by up to {item.max_abs_error:.3g} ({item.sqnr_db:.1f} dB)"
                    )
        return ""

    def warning(self) -> str:
        """Return which form is farther from the one before it than rounding explains, though it only stores it otherwise."""
        for hop in self._exact:
            worst = hop.worst
            if hop.parts and worst is not None:
                return f"the {hop.after} is not quite the {hop.before}: {parting_text(worst, self.samples)}"
        return ""

    @property
    def _exact(self) -> list[Hop]:
        return [hop for hop in self.hops if hop.after in (FROZEN, FLOAT)]


def hop_text(hop: Hop, samples: int) -> str:
    """Return what came of a hop: `the same`, how far the two are apart, or why they were not compared."""
    if hop.worst is None:
        return f"not compared: {hop.skipped}"
    return parting_text(hop.worst, samples) if hop.parts else f"the same (max error {hop.worst.max_abs_error:.2g})"


def parting_text(item: Parting, samples: int) -> str:
    """Return how far an output moved: `scores by up to 0.031 (32.1 dB), top-1 of 1 of 16 samples`."""
    changed = f", another top-1 for {item.top1_changed} of {samples_text(samples)}" if item.top1_changed else ""
    return f"{item.output} moves by up to {item.max_abs_error:.2g} ({item.sqnr_db:.1f} dB){changed}"
