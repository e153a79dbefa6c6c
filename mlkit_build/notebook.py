"""The pipeline from Python, for notebooks and training scripts: build a recipe, or export the model that is at hand.

A live model is frozen in the caller's process, which has it; everything after that is what the command line does, in the same
pristine children and with the same cache. The process is the caller's: its graphs, sessions and Hydra are left as they were.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mlkit_build.arguments import check_build, check_export
from mlkit_build.config import Roots, compose
from mlkit_build.config.roots import RECIPE_FILE, RecipeFolder
from mlkit_build.config.sweep import refuse_several
from mlkit_build.errors import ConfigError, GateError, MlkitBuildError
from mlkit_build.job import JobReport, refuse_select
from mlkit_build.metrics import Measurement
from mlkit_build.records import dataclass
from mlkit_build.report import summary
from mlkit_build.report.measured_table import html_table
from mlkit_build.report.screens import Warnings, screen
from mlkit_build.temporary import temporary_folder

if TYPE_CHECKING:
    from mlkit_build.engine.pool import Pool
    from mlkit_build.job import Job

__all__ = ["Built", "build", "export"]

_pools: dict[int, Pool] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Built:
    """What a build made. A notebook shows it as a table.

    Attributes:
        bundle: The published folder, absolute.
        metrics: Measured value -> what it came to, beside TensorFlow's.
        manifest: The content of `manifest.json`.
        report: Everything else that is known: gates, actions, seconds.
    """

    bundle: Path
    metrics: Mapping[str, Measurement]
    manifest: Mapping[str, Any]
    report: JobReport

    @property
    def model(self) -> Path:
        """The `.tflite` file."""
        return self.bundle / f"{self.report.recipe}.tflite"

    def __repr__(self) -> str:
        return _lines(self.report)

    def _repr_html_(self) -> str:
        """Return a table of what was measured and links to the files: the same for the same bundle, nothing from elsewhere."""
        title = f"<b>{escape(summary.job_name(self.report))}</b> {escape(str(self.manifest['version']))}"
        links = [_link(path) for path in (self.model, self.bundle / "report.html", self.bundle / "manifest.json")]
        return f"<div><p>{title}</p>{html_table(self.report)}<p>{', '.join(links)}</p></div>"


class Refused(JobReport):
    """The report of a build whose gate failed. A notebook shows it as a table, as what was built."""

    def __repr__(self) -> str:
        return _lines(self)

    def _repr_html_(self) -> str:
        """Return a table of what was measured."""
        title = f"<b>{escape(summary.job_name(self))}</b> {escape(summary.result(self))}"
        return f"<div><p>{title}</p>{html_table(self)}</div>"


def build(recipe: str | Path, *overrides: str, ui: str = "quiet") -> Built:
    """Build a recipe, as `mlkit-build recipe=NAME key=value ...` does.

    Args:
        recipe: A recipe's name, or the path of a recipe's folder.
        overrides: As on the command line, e.g. `"quantization=int8"`.
        ui: How to tell of the progress: `quiet`, `plain` or `rich`.

    Raises:
        MlkitBuildError: What would have ended the command line with an error; a GateError has what was measured, as `report`.
    """
    check_build(recipe, overrides, ui)
    roots, folder = Roots.find(), Path(recipe).expanduser().absolute()
    named = isinstance(recipe, str) and (len(Path(recipe).parts) == 1 and not recipe.startswith((".", "~")))
    if named and (roots.recipe(str(recipe)) is not None or not folder.is_dir()):
        return _built(_composed([f"recipe={_quoted(str(recipe))}", *overrides], roots), ui)
    if not (folder / RECIPE_FILE).is_file():
        raise ConfigError(f"build: expected a recipe's name, or a folder with {RECIPE_FILE} in it, found {str(recipe)!r}")
    if folder.parent.name == "recipes":
        roots = Roots.find([str(folder.parent.parent)])
    return _built(_composed_folder(folder, roots, overrides), ui)


def export(
    model: Any,
    *,
    inputs: Any = None,
    outputs: Any = None,
    constants: Mapping[Any, Any] | None = None,
    name: str = "model",
    to: str | Path = "dist",
    quantization: str | Mapping[str, Any] = "float32",
    target: str = "custom",
    dataset: Any = None,
    calibration: Any = None,
    labels: Sequence[str] | str | Path | None = None,
    recipe_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
    ui: str = "quiet",
    **fields: Any,
) -> Built:
    """Export a model that lives in this process. Neither its graph nor its session is changed.

    Args:
        model: A Keras model, a `tf.function` with its input signature, a concrete function, a `tf.Module` with one of these,
            or a TensorFlow 1 session, which needs `inputs` and `outputs`.
        inputs: Name -> tensor, a tensor's name, or a mapping as in a recipe (`tensor`, `shape`, `mean`, `std`); a list of
            tensors keeps their own names. Left out, what the model declares.
        outputs: Likewise; a mapping has `tensor` only.
        constants: Placeholder -> the value it gets for good.
        name: The recipe's name; names the bundle and the model file.
        to: Where bundles go, as `output_dir`.
        quantization: A mode, or a mapping as in a recipe.
        target: `custom`, `image_labeling` or `object_detection`.
        dataset: What the model is measured on: a mapping as in a recipe, the samples as one array (of a model with one input)
            or as name -> array, or a pair of these and the labels: class indices, or what else the metrics want. Images are
            pixels in 0..255.
        calibration: What static quantization observes: likewise, without labels.
        labels: The classes' names, or the path of a labels file.
        recipe_dir: Where to keep the recipe with its frozen graph, to build it again as a file; nowhere when left out.
        overrides: As on the command line.
        ui: How to tell of the progress.
        fields: Any other field of a recipe: `adapters`, `validation`, `version`, ...

    Raises:
        MlkitBuildError: What would have ended the command line with an error; a GateError has what was measured, as `report`.
    """
    from mlkit_build.live_recipe import write_recipe

    kinds = {"labels": labels, "recipe_dir": recipe_dir, "overrides": overrides, "ui": ui, "constants": constants, "to": to}
    check_export({"name": name, "quantization": quantization, "target": target, **kinds})
    stated = {"name": name, "quantization": quantization, "target": target}
    data = {"dataset": dataset, "calibration": calibration, "labels": labels}
    with _recipe_folder(recipe_dir) as folder:
        write_recipe(folder, model, inputs, outputs, constants or {}, {**stated, **data, **fields})
        job = _composed_folder(folder, Roots.find(), overrides)
        if not any(override.lstrip("+").startswith("output_dir=") for override in overrides):
            job = replace(job, settings=replace(job.settings, output_dir=str(to)))
        return _built(job, ui)


@contextmanager
def _recipe_folder(recipe_dir: str | Path | None) -> Iterator[Path]:
    """Yield the folder to write the recipe to. No error sends its reader to a folder that is gone by then."""
    if recipe_dir is not None:
        folder = Path(recipe_dir).expanduser().absolute()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with temporary_folder() as temporary:
        folder = temporary / "exported"
        folder.mkdir()
        try:
            yield folder
        except MlkitBuildError as error:
            texts = [text.replace(f"{folder / RECIPE_FILE}: ", "export: ") for text in (error.message, error.hint)]
            message, hint = (text.replace(f"{folder}{os.sep}", "") for text in texts)
            told = type(error)(message, hint, log=error.log)
            if isinstance(error, GateError) and isinstance(told, GateError) and error.report is not None:
                told.report = replace(error.report, error=told)
            raise told from error


@dataclass(frozen=True)
class _OneRecipe(Roots):
    """The search path for a recipe whose folder is known: what else lies beside it does not matter."""

    only: RecipeFolder

    def all_recipes(self) -> tuple[RecipeFolder, ...]:
        return (self.only,)


def _composed_folder(folder: Path, roots: Roots, overrides: Sequence[str]) -> Job:
    one = _OneRecipe((folder.parent,), roots.conf, RecipeFolder(folder.name, folder, builtin=False))
    return _composed([f"recipe={_quoted(folder.name)}", *overrides], one)


def _composed(overrides: Sequence[str], roots: Roots) -> Job:
    with _lock, _hydra_left_alone():
        refuse_several("build", overrides)
        job = compose(list(overrides), roots)
    refuse_select(job.settings.select)
    return job


@contextmanager
def _hydra_left_alone() -> Iterator[None]:
    """Lend Hydra's globals to the block: the caller may be a Hydra program, with a store and a version base of its own."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.core.singleton import Singleton
    from hydra.version import VersionBase

    def copied(group: dict[str, Any]) -> dict[str, Any]:
        return {name: copied(item) if isinstance(item, dict) else item for name, item in group.items()}

    Plugins.instance()  # Hydra's own, which fill the store once
    store, version = ConfigStore.instance(), VersionBase.instance()
    own, base, running = store.repo, version.version_base, Singleton._instances.pop(GlobalHydra, None)
    store.repo = copied(own)
    try:
        yield
    finally:
        store.repo, version.version_base = own, base
        Singleton._instances.pop(GlobalHydra, None)
        if running is not None:
            Singleton._instances[GlobalHydra] = running


def _quoted(text: str) -> str:
    """Return the text as Hydra's grammar quotes it: only a quote, and the backslashes before one, are escaped."""
    return "'" + re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + (r"\'" if match[2] else ""), text) + "'"


def _built(job: Job, ui: str) -> Built:
    from mlkit_build import workflow
    from mlkit_build.report.documents import Documents

    documents = Documents.of(job.settings)
    report = workflow.build(job, _pool(), Warnings() if ui == "quiet" else screen(ui))
    documents.write([report])
    if isinstance(report.error, GateError):
        report.error.report = Refused(**{field.name: getattr(report, field.name) for field in fields(report)})
    if report.error is not None:
        raise report.error
    assert report.bundle is not None
    bundle = report.bundle.absolute()
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    return Built(bundle, report.metrics or {}, manifest, replace(report, bundle=bundle))


def _pool() -> Pool:
    """Return the fork servers of this process: a notebook's next cell finds them warm. A fork of it gets its own."""
    from mlkit_build.engine.pool import Pool

    def close(process: int) -> None:
        if os.getpid() == process:
            _pools[process].close()

    with _lock:
        process = os.getpid()
        if process not in _pools:
            _pools[process] = Pool()
            atexit.register(close, process)
        return _pools[process]


def _lines(report: JobReport) -> str:
    """Return what the command line prints."""
    return "\n".join([summary.headline(report), *(f"  {title:<18} {text}" for title, text in summary.lines(report))])


def _link(path: Path) -> str:
    """Return a link: relative where it can be, since notebooks show what lies below their folder and nothing else."""
    try:
        href = quote(path.relative_to(Path.cwd()).as_posix())
    except (ValueError, OSError):
        href = path.as_uri()
    return f'<a href="{escape(href)}">{escape(path.name)}</a>'
