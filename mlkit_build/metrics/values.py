"""What each measured value is called, how it reads, and which way it gets worse. Importing it imports nothing heavy."""

from __future__ import annotations

import re

from mlkit_build.records import dataclass

__all__ = ["MOST_DECIBELS", "OF_THE_FILE", "VALUES", "Value", "is_known", "samples_text", "size", "value_of"]

MOST_DECIBELS = 200.0
"""What a ratio of signal to no noise at all is given: more than float32 can tell apart, and a number that JSON can spell."""


@dataclass(frozen=True)
class Value:
    """A measured value.

    Attributes:
        title: What people call it.
        form: How it reads: `share` (as a percentage), `bytes`, `decibel`, `cosine`, `milliseconds`, or `number`.
        lower_is_better: Whether a smaller value is a better one.
        at_most_one: Whether it cannot exceed 1, so that a limit of 95 must mean 0.95.
        least: What it cannot be below.
    """

    title: str
    form: str = "number"
    lower_is_better: bool = False
    at_most_one: bool = False
    least: float | None = None

    def number(self, value: float) -> str:
        """Return a measured value with its unit; in words where the number only stands for there being no noise."""
        return "identical" if self.form == "decibel" and value >= MOST_DECIBELS else self.limit(value)

    def limit(self, value: float) -> str:
        """Return a limit with its unit."""
        if self.form == "share":
            return f"{100 * value:.2f}%"
        if self.form == "bytes":
            return size(int(value))
        if self.form == "decibel":
            return f"{value:.1f} dB"
        if self.form == "milliseconds":
            return f"{value:.3g} ms"
        return f"{value:.6f}" if self.form == "cosine" else f"{value:.4g}"

    def difference(self, value: float) -> str:
        """Return how far one value is from another, with its unit."""
        if self.form == "share":
            return f"{round(100 * value, 2) or 0.0:.2f} points"
        if self.form == "bytes":
            return size(int(value)) if value >= 0 else f"-{size(int(-value))}"
        return self.limit(value) if self.form in ("decibel", "milliseconds") else f"{value:.4g}"

    def exact(self, value: float) -> float:
        """Return the value as JSON states it: bytes are whole numbers."""
        return int(value) if self.form == "bytes" and value == int(value) else value


def size(size_bytes: int) -> str:
    """Return a number of bytes for people, in units of 1000."""
    amount, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{size_bytes} B" if unit == "B" else f"{amount:.1f} {unit}"


def samples_text(count: int) -> str:
    """Return a number of samples for people: `1 sample`, `10,000 samples`."""
    return f"{count:,} sample{'' if count == 1 else 's'}"


def _share(title: str) -> Value:
    return Value(title, "share", at_most_one=True, least=0.0)


def _error(title: str) -> Value:
    return Value(title, lower_is_better=True, least=0.0)


VALUES = {
    "size_bytes": Value("model size", "bytes", lower_is_better=True, least=0.0),
    "arena_bytes": Value("arena", "bytes", lower_is_better=True, least=0.0),
    "latency_ms": Value("latency", "milliseconds", lower_is_better=True, least=0.0),
    "top1": _share("top-1 accuracy"),
    "macro_precision": _share("macro precision"),
    "macro_recall": _share("macro recall"),
    "macro_f1": _share("macro F1"),
    "weighted_precision": _share("weighted precision"),
    "weighted_recall": _share("weighted recall"),
    "weighted_f1": _share("weighted F1"),
    "roc_auc": Value("ROC-AUC", at_most_one=True, least=0.0),
    "pr_auc": Value("PR-AUC", at_most_one=True, least=0.0),
    "log_loss": _error("log loss"),
    "calibration_error": Value("calibration error", "share", lower_is_better=True, at_most_one=True, least=0.0),
    "mae": _error("mean absolute error"),
    "rmse": _error("root mean square error"),
    "r2": Value("R2", at_most_one=True),
    "psnr_db": Value("PSNR", "decibel"),
    "embedding_cosine": Value("embedding cosine", "cosine", at_most_one=True, least=-1.0),
    "worst_embedding_cosine": Value("worst embedding", "cosine", at_most_one=True, least=-1.0),
    "retrieval_agreement": _share("retrieval agreement"),
    "mean_iou": _share("mean IoU"),
    "pixel_accuracy": _share("pixel accuracy"),
    "max_abs_error": _error("max absolute error"),
    "rms_error": _error("RMS error"),
    "sqnr_db": Value("SQNR", "decibel"),
    "cosine": Value("cosine similarity", "cosine", at_most_one=True, least=-1.0),
    "top1_agreement": _share("top-1 agreement"),
    "pixel_agreement": _share("pixel agreement"),
}

OF_THE_FILE = ("size_bytes", "arena_bytes", "latency_ms")
"""Values that no samples are needed for."""

_TOP_K = re.compile(r"top(\d+)")


def is_known(name: str) -> bool:
    """Return whether metrics of ours yield a value called `name`: `top1`, and `top3` with the k that a recipe states."""
    return name in VALUES or _TOP_K.fullmatch(name) is not None


def value_of(name: str) -> Value:
    """Return what is known of the value called `name`; of a custom metric's nothing but the name."""
    top = _TOP_K.fullmatch(name)
    return VALUES.get(name) or (_share(f"top-{top[1]} accuracy") if top else Value(name))
