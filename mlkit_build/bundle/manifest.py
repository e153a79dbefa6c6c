"""`manifest.json`: what the bundle is, what it was made of, and why it can be trusted. Equal builds, equal bytes.

No times, hosts, or absolute paths: what varies is in `provenance.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlkit_build.bundle.portable import plain_recipe
from mlkit_build.forms import Hops
from mlkit_build.gates import Verdict
from mlkit_build.metrics import Measurement, PairedTest, value_of
from mlkit_build.mlkit.app_view import AppView
from mlkit_build.plain import pretty, to_plain
from mlkit_build.recipe import Recipe
from mlkit_build.records import dataclass
from mlkit_build.runtimes.verdicts import RuntimeVerdict
from mlkit_build.signature import FrozenSignature
from mlkit_build.store import Digest

SCHEMA = "mlkit-build/manifest/v1"


@dataclass(frozen=True)
class FileEntry:
    """A file by content, or a folder whose files nobody names.

    Attributes:
        path: Relative to the recipe's folder for inputs, to the bundle for outputs.
        sha256: Of the file; of a folder, of the canonical JSON of the names in it and their digests.
        size_bytes: Of all of it.
    """

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class ActionEntry:
    """An action by its key, which stands for everything that decided its result."""

    name: str
    key: str


@dataclass(frozen=True)
class MetricEntry:
    """A measured value.

    Attributes:
        reference: TensorFlow's value on the same samples.
        drop: How much worse the value is.
        interval: The value's 95% interval, of a share of samples.
        paired: McNemar's test against TensorFlow, of a share of samples.
    """

    value: float
    reference: float | None
    drop: float | None
    interval: tuple[float, ...] | None = None
    paired: PairedTest | None = None


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`, in this order.

    Attributes:
        schema: `mlkit-build/manifest/v1`.
        name: The recipe's name.
        version: The recipe's version.
        variant: The bundle's folder under the name.
        recipe: The resolved recipe.
        signature: Inputs and outputs of the shipped model.
        inputs: Every file the recipe named.
        outputs: Every file of the bundle but the manifest, the provenance, the checksums, and archives: the manifest is in them.
        actions: In order.
        metrics: Measured value -> what it came to; what no number can say is in `tables.json`, which is among the outputs.
        gates: Every limit, judged.
        hops: How far every form of the model is from the one before it; None where they were not compared.
        runtimes: What other versions of the interpreter made of the model, judged.
        skipped: The damaged samples of the dataset that were left out.
        app: How right the file is as an app sees it, with nothing but its own metadata and labels.
        quantization: What the truth check found in the model; None for float32.
        toolchain: Tool -> version.
    """

    schema: str
    name: str
    version: str
    variant: str
    recipe: Recipe
    signature: FrozenSignature
    inputs: tuple[FileEntry, ...]
    outputs: tuple[FileEntry, ...]
    actions: tuple[ActionEntry, ...]
    metrics: Mapping[str, MetricEntry]
    gates: tuple[Verdict, ...]
    hops: Hops | None
    runtimes: tuple[RuntimeVerdict, ...]
    skipped: tuple[str, ...]
    app: AppView
    quantization: Mapping[str, Any] | None
    toolchain: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """Return the file's bytes. Who signs the bundle is not in them: a signature is over the manifest, not of it."""
        return pretty({**to_plain(self), "recipe": plain_recipe(self.recipe)})


def metric_entries(metrics: Mapping[str, Measurement]) -> dict[str, MetricEntry]:
    """Return the metrics as the manifest and `ui=json` state them."""
    return {
        name: MetricEntry(value_of(name).exact(found.value), found.reference, found.drop, found.interval, found.paired)
        for name, found in metrics.items()
    }


def entries(files: Sequence[tuple[str, Digest]]) -> tuple[FileEntry, ...]:
    """Return (path, digest) pairs as entries."""
    return tuple(FileEntry(path, digest.sha256, digest.size_bytes) for path, digest in files)
