"""What one export is, as frozen dataclasses.

`mlkit_build.config` turns these classes into Hydra's structured configs; everything after composing receives the frozen
objects. A field is documented once, in its class's `Attributes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mlkit_build.recipe.datasets import AnyDataset
from mlkit_build.recipe.labels import Labels, Metadata
from mlkit_build.recipe.mandatory import MANDATORY
from mlkit_build.recipe.package import ANY_RUNTIME, ML_KIT_RUNTIME, Package
from mlkit_build.recipe.quantization import Quantization
from mlkit_build.recipe.validation import Validation
from mlkit_build.records import dataclass

ML_KIT_TARGETS = ("image_labeling", "object_detection")
TARGETS = (*ML_KIT_TARGETS, "custom")
LOCK_FILE = "recipe.lock"
"""Kept beside `recipe.yaml`. It is no part of the recipe: no pattern of a recipe finds it."""
UI_MODES = ("auto", "plain", "rich", "json", "quiet")


@dataclass(frozen=True, kw_only=True)
class Input:
    """One named input of the model.

    Attributes:
        tensor: The graph tensor it stands for, `name:0` or `name`. Left out, the model's own signature says it, or the graph
            where only one tensor can be meant.
        shape: The static shape, batch first, e.g. `[1, 224, 224, 3]`. Left out, the graph's own shape is taken, with an
            unknown batch pinned to 1.
        mean: Per channel, or one for all: the model wants `(pixel - mean) / std` of pixels in 0..255. Stated together
            with `std`, it says that this input is an image.
        std: See `mean`.
    """

    tensor: str | None = None
    shape: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """One named output of the model.

    Attributes:
        tensor: The graph tensor it stands for, `name:0` or `name`. Left out, as for inputs.
    """

    tensor: str | None = None


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The named inputs and outputs, and the graph tensors they stand for.

    Attributes:
        inputs: Name -> input, in the order the model takes them. Left out, those of the model's own signature, or the one
            placeholder of the graph.
        outputs: Name -> output, in the order the model returns them. Left out, as for inputs.
        constants: Placeholder tensor -> the value it gets for good, e.g. `{"keep_prob:0": 1.0, "is_training:0": false}`.
    """

    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tf1Checkpoint:
    """A TensorFlow 1 checkpoint with its graph.

    Attributes:
        kind: `tf1_checkpoint`.
        path: The checkpoint's prefix (`model/mnist.ckpt`), its `.meta` or `.index` file, or the folder whose `checkpoint` file
            names the latest one; relative to the recipe's folder, or a URL.
        graph: The GraphDef or MetaGraphDef that it belongs to, binary or text; the prefix's `.meta` file when left out.
        sha256: Of the file that a URL names.
    """

    kind: str = "tf1_checkpoint"
    path: str = MANDATORY
    graph: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class FrozenGraph:
    """A GraphDef whose variables are constants already.

    Attributes:
        kind: `frozen_graph`.
        path: The GraphDef, binary or text; relative to the recipe's folder, or a URL.
        sha256: Of the file that a URL names.
    """

    kind: str = "frozen_graph"
    path: str = MANDATORY
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """A SavedModel of TensorFlow 1 or 2.

    Attributes:
        kind: `saved_model`.
        path: Its folder, the one with `saved_model.pb`; relative to the recipe's folder, or a URL of an archive.
        tags: Which of its graphs; the only one, or the one tagged `serve`, when left out.
        signature: Which of its signatures names inputs and outputs; the only one, or `serving_default`, when left out.
        sha256: Of the archive that a URL names.
    """

    kind: str = "saved_model"
    path: str = MANDATORY
    tags: tuple[str, ...] | None = None
    signature: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Keras:
    """A model that Keras saved whole.

    Attributes:
        kind: `keras`.
        path: The `.keras`, `.h5` or `.hdf5` file of Keras 3 or Keras 2; relative to the recipe's folder, or a URL.
        sha256: Of the file that a URL names.
    """

    kind: str = "keras"
    path: str = MANDATORY
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Python:
    """A function of the recipe's folder that returns the model. It runs as code, with the recipe's trust.

    Attributes:
        kind: `python`.
        function: `FILE.py:NAME`, relative to the recipe's folder. It returns a Keras model, a `tf.function` with its input
            signature, a `tf.Module` with one, or `(session, inputs, outputs)` of TensorFlow 1.
        arguments: What the function is called with, by name.
        files: What it reads, as paths or patterns relative to the recipe's folder. It runs in a copy of the folder that holds
            these files and the modules it imports, and nothing else. What it reads from elsewhere, by an absolute path or from
            the environment, is not in the key: a change there is not noticed.
        timeout_s: How long it may take, in seconds.
    """

    kind: str = "python"
    function: str = MANDATORY
    arguments: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    timeout_s: float = 600.0


AnySource = Tf1Checkpoint | FrozenGraph | SavedModel | Keras | Python


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A graph edit made at freeze. In a recipe `name`, or `{name: {option: value}}`.

    Attributes:
        name: From the table of adapters.
        options: Its options.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """How the frozen graph is made.

    Attributes:
        unroll: What becomes of while loops: `auto` (short ones whose number of steps is known are unrolled, others stay or become
            functional loops), `always`, `never`, or the greatest number of steps to unroll.
    """

    unroll: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Convert:
    """How the frozen graph becomes a `.tflite`.

    Attributes:
        allow_select_ops: Let operators that LiteRT lacks run in TensorFlow itself, which the app must then ship (Flex). Only for
            the target `custom`.
    """

    allow_select_ops: bool = False


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the package must satisfy.

    Attributes:
        task: `image_labeling` or `object_detection` (ML Kit's custom-model tasks), or `custom` (any LiteRT interpreter).
    """

    task: str = "custom"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One export.

    Attributes:
        name: The recipe's name: letters, digits, `_`, `-`, `.`; names the bundle and the model file.
        version: The export's own version, e.g. `1.0.0`.
        description: One line on what the model is.
        author: Who answers for the model.
        license: SPDX identifier of the model's licence.
        source: Where the trained model comes from.
        signature: The named inputs and outputs.
        adapters: Graph edits made at freeze, in order.
        freeze: How the frozen graph is made.
        convert: How it becomes a `.tflite`.
        labels: What the classes are called: the path of a text file with one per line, or more in a mapping.
        dataset: What the model is measured on.
        calibration: What static quantization observes; shares no sample with `dataset`.
        quantization: How the model is quantized.
        target: What the package must satisfy.
        metadata: What the file says to ML Kit beyond all this.
        validation: Metrics and gates.
        package: What the package must be beyond its target, and in which forms an app can take it.
        variant: The bundle's folder under the recipe's name; the quantization names it when left out.
    """

    name: str = MANDATORY
    version: str = "0.0.0"
    description: str = ""
    author: str = ""
    license: str = ""
    source: AnySource
    signature: Signature = field(default_factory=Signature)
    adapters: tuple[Adapter, ...] = ()
    freeze: Freeze = field(default_factory=Freeze)
    convert: Convert = field(default_factory=Convert)
    labels: Labels | None = None
    dataset: AnyDataset | None = None
    calibration: AnyDataset | None = None
    quantization: Quantization = field(default_factory=Quantization)
    target: Target = field(default_factory=Target)
    metadata: Metadata = field(default_factory=Metadata)
    validation: Validation = field(default_factory=Validation)
    package: Package = field(default_factory=Package)
    variant: str | None = None

    @property
    def variant_name(self) -> str:
        """The bundle's folder: `variant`, else what is unusual about the quantization: `int8_uint8`."""
        return self.variant or self.quantization.title

    @property
    def min_runtime(self) -> str | None:
        """The oldest runtime that must compute the model; None where any will do."""
        usual = ML_KIT_RUNTIME if self.target.task in ML_KIT_TARGETS else ANY_RUNTIME
        found = self.package.min_runtime or usual
        return None if found == ANY_RUNTIME else found


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The build cache.

    Attributes:
        dir: Its folder; the platform's cache folder when left out (`MLKIT_BUILD_CACHE` overrides that).
        enabled: False builds everything and keeps nothing.
    """

    dir: str | None = None
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run a build. Nothing here can change what is built.

    Attributes:
        output_dir: Where bundles are published, as `<output_dir>/<recipe>/<variant>`.
        cache: The build cache.
        ui: `auto` (rich on a terminal, plain lines elsewhere), `plain`, `rich`, `json` (one object per job), `quiet`.
        jobs: How many actions may run at once; one per core when left out.
        select: Which variant of a sweep is published once more, as `<output_dir>/<recipe>/best`: `smallest`, `fastest` or
            `most_accurate` of those that pass every gate.
        junit: A file to write verdicts to as JUnit XML, also when the build fails.
        github_summary: A file to write verdicts to as Markdown, also when the build fails; `auto` appends to the one that
            `$GITHUB_STEP_SUMMARY` names.
        locked: Whether the bundle must be the one that the `recipe.lock` beside the recipe describes; nothing else is published.
    """

    output_dir: str = "dist"
    cache: Cache = field(default_factory=Cache)
    ui: str = "auto"
    jobs: int | None = None
    select: str | None = None
    junit: str | None = None
    github_summary: str | None = None
    locked: bool = False
