"""One job from recipe to bundle: load, run the actions, judge, package, publish. Every failure ends as a report."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlkit_build import pipeline
from mlkit_build.bundle.baseline import Baseline, read_baseline
from mlkit_build.bundle.manifest import (
    SCHEMA,
    ActionEntry,
    Manifest,
    entries,
    metric_entries,
    portable,
    portable_place,
    portable_text,
)
from mlkit_build.bundle.publish import MANIFEST, PROVENANCE, check_place, is_published, publish
from mlkit_build.engine import Action, Decision, Engine, Listener, Result
from mlkit_build.engine.pool import Pool
from mlkit_build.engine.shared import Shared
from mlkit_build.engine.toolchain import whole_toolchain
from mlkit_build.errors import ExitCode, GateError, MlkitBuildError, StageError
from mlkit_build.forms import Hops
from mlkit_build.gates import Verdict, judge
from mlkit_build.job import Job, JobReport
from mlkit_build.locating import Locator, open_locator
from mlkit_build.metrics import Measurement
from mlkit_build.mlkit.app_view import AppView
from mlkit_build.plain import from_plain
from mlkit_build.recipe import Recipe, Tf1Checkpoint
from mlkit_build.report.summary import delegate_needed
from mlkit_build.runtimes.verdicts import Findings, RuntimeVerdict, judge_runtime
from mlkit_build.signature import FrozenSignature
from mlkit_build.store import BlobUnusableError, Digest, LayeredStore, open_store
from mlkit_build.store.layered import default_folder
from mlkit_build.timing import METRIC as LATENCY
from mlkit_build.timing import Timing

if TYPE_CHECKING:
    from mlkit_build.sweep.outcome import Outcome

Prepare = Callable[[], tuple[Path, ...]]
"""Returns the record of each other runtime's environment, made where it must be. Raises SourceError, StoreError."""


class Screen(Listener, Protocol):
    """Who hears of a job: the engine's listener, and the job's beginning and end."""

    def job_started(self, recipe: str, variant: str) -> None:
        """A job begins."""

    def fetching(self, url: str, done: int, total: int | None) -> None:
        """A file is being fetched: so many bytes, of so many where that is known."""

    def job_finished(self, report: JobReport) -> None:
        """A job is over, well or not."""

    def of(self, job: str) -> Screen:
        """Return the voice of one job of a sweep, `recipe/variant`, among others that run at the same time."""

    def sweep_finished(self, outcome: Outcome) -> None:
        """All jobs of a sweep are over."""


def build(job: Job, pool: Pool, screen: Screen, command: Sequence[str] = (), shared: Shared | None = None) -> JobReport:
    """Build one job and publish its bundle.

    Never raises for what a user can cause: the report says what happened.

    Args:
        pool: The fork servers, shared by the jobs of one run.
        screen: Who hears of the progress.
        command: The command line, for the provenance.
        shared: What the jobs of a sweep share: the cores, and the open caches.
    """
    recipe, started = job.recipe, time.time()
    screen.job_started(recipe.name, recipe.variant_name)
    for warning in job.warnings:
        screen.warning(warning)
    with (
        _store(job, screen, shared) as store,
        _locator(job, screen, fetches=True) as locate,
        _environments(job, screen, makes=True) as prepare,
    ):
        run = _Run(job, store, pool, screen, locate, prepare, shared)
        try:
            report = run.to_bundle(command, started)
        except MlkitBuildError as error:
            report = run.failed(error)
    report = replace(report, seconds=time.time() - started)
    screen.job_finished(report)
    return report


def plan(job: Job, screen: Screen) -> list[Decision]:
    """Return what `build` would do and why, doing nothing.

    Raises:
        MlkitBuildError: A file of the recipe is missing.
    """
    with (
        _store(job, screen) as store,
        _locator(job, screen, fetches=False) as locate,
        _environments(job, screen, makes=False) as prepare,
    ):
        try:
            return _Run(job, store, Pool(), screen, locate, prepare).plan()
        except MlkitBuildError as error:
            raise locate.as_stated(error) from error


def cache_folder(job: Job) -> Path:
    """Return the folder of the build cache for this job."""
    return Path(job.settings.cache.dir).expanduser() if job.settings.cache.dir else default_folder()


def _store(job: Job, screen: Screen, shared: Shared | None = None) -> AbstractContextManager[LayeredStore]:
    folder = cache_folder(job) if job.settings.cache.enabled else None
    return nullcontext(shared.store(folder, screen.warning)) if shared else open_store(folder, screen.warning)


def _locator(job: Job, screen: Screen, fetches: bool) -> AbstractContextManager[Locator]:
    folder = cache_folder(job) if job.settings.cache.enabled else None
    return open_locator(folder, job.folder, screen.warning, screen.fetching, fetches=fetches)


def _environments(job: Job, screen: Screen, *, makes: bool) -> AbstractContextManager[Prepare]:
    """Yield what answers with the environments of the recipe's other runtimes. Nothing is imported for a recipe without any."""
    if not job.recipe.validation.runtimes:
        return nullcontext(lambda: ())
    from mlkit_build.runtimes.environments import prepared

    folder = cache_folder(job) if job.settings.cache.enabled else None
    return prepared(job.recipe.validation.runtimes, folder, screen.warning, screen.fetching, makes=makes)


class _Run:
    """One build in progress: what is known so far, for the report of a failure too."""

    def __init__(
        self,
        job: Job,
        store: LayeredStore,
        pool: Pool,
        screen: Screen,
        locate: Locator,
        prepare: Prepare,
        shared: Shared | None = None,
    ) -> None:
        self._job = job
        self._locate = locate
        self._prepare = prepare
        self._recipe = job.recipe
        self._store = store
        self._results: dict[str, Result] = {}
        self._metrics: dict[str, Measurement] | None = None
        self._verdicts: tuple[Verdict, ...] = ()
        self._runtimes: tuple[RuntimeVerdict, ...] = ()
        self._stale = ""
        self._hops: Hops | None = None
        self._time: Timing | None = None
        self._timed: tuple[Verdict, ...] = ()
        self._screen = _Recorder(screen, self._results)
        self._engine = Engine(
            store,
            pool,
            self._screen,
            scope=job.recipe.name,
            logs=cache_folder(job) / "logs",
            jobs=job.settings.jobs,
            shared=shared,
        )

    def plan(self) -> list[Decision]:
        files = self._load()
        baseline = self._baseline(files)
        measuring = pipeline.actions(self._recipe, files)
        records = {decision.action.name: decision.record for decision in self._engine.plan(measuring)}

        def found(action: str, file: str) -> Path:
            record = records[action]
            assert record is not None
            return self._store.blob(record.outputs[file])

        if all(records.values()):
            with contextlib.suppress(BlobUnusableError):  # then it is set aside, and the plan below says that it would run
                self._judge(found, baseline)
        packaging = pipeline.packaging(self._recipe, files, self._verdicts, self._runtimes)
        return self._engine.plan([*measuring, *packaging, *self._timing()])

    def to_bundle(self, command: Sequence[str], started: float) -> JobReport:
        place = Path(self._job.settings.output_dir).expanduser() / self._recipe.name / self._recipe.variant_name
        check_place(place)
        files = self._load()
        baseline = self._baseline(files)
        self._engine.run(pipeline.actions(self._recipe, files))
        self._judge(self._engine.output, baseline)
        self._compare_forms()
        self._warn()
        _refuse_broken(self._verdicts, self._runtimes)
        packaging = pipeline.packaging(self._recipe, files, self._verdicts, self._runtimes)
        self._engine.run([*packaging, *self._timing()])
        self._judge_time()
        manifest, contents = self._manifest(files, packaging)
        data = manifest.to_bytes()
        unchanged = is_published(place, data, {name: digest for name, (digest, _) in contents.items()})
        if not unchanged:
            self._publish(place, manifest, data, contents, command, started)
        return self._report("unchanged" if unchanged else "built", ExitCode.OK, bundle=place)

    def failed(self, error: MlkitBuildError) -> JobReport:
        error = self._locate.as_stated(error)
        status = {ExitCode.CONFIG: "config_error", ExitCode.GATE: "gate_failed"}.get(error.exit_code, "failed")
        stage = "" if isinstance(error, GateError) else self._screen.failed or ("package" if self._metrics else "load")
        return self._report(status, error.exit_code, error=error, stage=stage)

    def _load(self) -> pipeline.Files:
        return replace(pipeline.load(self._recipe, self._job.folder, self._locate), environments=self._prepare())

    def _baseline(self, files: pipeline.Files) -> Baseline | None:
        if files.baseline is None:
            return None
        place = Path(self._job.settings.output_dir).expanduser() / self._recipe.name / self._recipe.variant_name
        return read_baseline(files.baseline, self._recipe.name, place)

    def _judge(self, output: Callable[[str, str], Path], baseline: Baseline | None) -> None:
        gates = {name: gate for name, gate in self._recipe.validation.gates.items() if name != LATENCY}
        reached = baseline.values if baseline else None
        found = json.loads(output("evaluate", "metrics.json").read_bytes())
        self._metrics = {name: from_plain(Measurement, value) for name, value in found.items()}
        shipped = output("describe", "model.tflite")  # with its metadata, which was not there when it was measured
        self._metrics["size_bytes"] = replace(self._metrics["size_bytes"], value=shipped.stat().st_size)
        self._verdicts = judge(gates, self._metrics, reached)
        measured = [json.loads(output(action, "runtime.json").read_bytes()) for action in pipeline.runtime_actions(self._recipe)]
        self._runtimes = tuple(judge_runtime(from_plain(Findings, found), gates, self._metrics, reached) for found in measured)
        self._stale = baseline.warning(self._recipe.dataset) if baseline else ""

    def _compare_forms(self) -> None:
        """Raise GateError if freezing or converting changed what the model computes."""
        if "hops" not in self._results:
            return
        self._hops = from_plain(Hops, json.loads(self._engine.output("hops", "hops.json").read_bytes()))
        problem = self._hops.problem()
        if problem:
            raise GateError(
                f"validation.hops: {problem}",
                "nothing was packaged; please report it with the model; validation.hops=0 builds without looking",
            )

    def _timing(self) -> list[Action]:
        action = pipeline.timing(self._recipe)
        return [action] if action else []

    def _judge_time(self) -> None:
        """Judge the gate on latency apart: times are not in the manifest, and so its verdict is not."""
        if "latency" not in self._results:
            return
        found = from_plain(Timing, json.loads(self._engine.output("latency", "latency.json").read_bytes()))
        self._time = found
        gates = {name: gate for name, gate in self._recipe.validation.gates.items() if name == LATENCY}
        self._timed = judge(gates, {LATENCY: Measurement(found.median_ms, lower_is_better=True)})
        _refuse_broken(self._timed)

    def _manifest(self, files: pipeline.Files, packaging: Sequence[Action]) -> tuple[Manifest, dict[str, tuple[Digest, str]]]:
        """Return the manifest, and file name -> (digest, output of the package action) of the bundle's contents."""
        recipe, folder = self._recipe, self._job.folder
        model_name = f"{recipe.name}.tflite"
        packaged = self._results["package"].outputs
        contents = {(model_name if output == "model.tflite" else output): (digest, output) for output, digest in packaged.items()}
        order = [action.name for action in [*pipeline.actions(recipe, files), *packaging]]
        manifest = Manifest(
            schema=SCHEMA,
            name=recipe.name,
            version=recipe.version,
            variant=recipe.variant_name,
            recipe=_portable(recipe),
            signature=FrozenSignature.read(self._engine.output("freeze", "signature.json")),
            inputs=entries([(portable(path, folder), self._engine.file_digest(path)) for path in files.all()]),
            outputs=entries(sorted((name, digest) for name, (digest, _) in contents.items())),
            actions=tuple(ActionEntry(name, self._results[name].key) for name in order),
            metrics=metric_entries(self._metrics or {}),
            gates=self._verdicts,
            hops=self._hops,
            runtimes=self._runtimes,
            skipped=tuple(self._observations()["skipped"]),
            app=self._view(packaging[-1]),
            quantization=self._quantization(),
            toolchain=whole_toolchain(),
        )
        return manifest, contents

    def _publish(
        self,
        place: Path,
        manifest: Manifest,
        data: bytes,
        contents: Mapping[str, tuple[Digest, str]],
        command: Sequence[str],
        started: float,
    ) -> None:
        from mlkit_build.bundle.provenance import statement

        blobs = {name: self._engine.output("package", output) for name, (_, output) in contents.items()}
        subjects = [*manifest.outputs, *entries([(MANIFEST, Digest.of_bytes(data))])]
        results = list(self._results.values())
        provenance = statement(manifest, results, subjects, self._job.folder, command, started, self._time)

        def write(folder: Path) -> None:
            import shutil

            for name, blob in blobs.items():
                shutil.copyfile(blob, folder / name)
                if Digest.of_file(folder / name) != contents[name][0]:
                    raise StageError(f"package: {name} was damaged while it was copied", "check the disk, then build again")
            (folder / MANIFEST).write_bytes(data)
            (folder / PROVENANCE).write_bytes(provenance)

        publish(place, write)

    def _quantization(self) -> dict[str, Any] | None:
        """Return what the truth check found in a quantized model, and what it was calibrated on; None for float32."""
        action = pipeline.quantizing(self._recipe)
        if action not in self._results:
            return None
        found: dict[str, Any] = json.loads(self._engine.output(action, "quantization.json").read_bytes())
        return found

    def _observations(self) -> dict[str, Any]:
        """Return what was noticed of the samples that the model was measured on."""
        found: dict[str, Any] = json.loads(self._engine.output("evaluate", "observations.json").read_bytes())
        return found

    def _view(self, package: Action) -> AppView:
        """Return how right the packaged file was found to be in an app, or why nobody looked."""
        if "app" not in self._results:
            return AppView(package.params["not_viewed"])
        return from_plain(AppView, json.loads(self._engine.output("app", "app.json").read_bytes()))

    def _warn(self) -> None:
        """Say what a user must know of the model, shipped or not: how its quantization fell short, what its app must link,
        and how little a few samples prove."""
        quantized = (self._quantization() or {}).get("warning")
        apart = self._hops.warning() if self._hops else ""
        told = self._observations()["warning"]
        small = [verdict.warning for verdict in self._verdicts]
        for warning in (quantized, told, apart, delegate_needed(self._metrics or {}), self._stale, *small):
            if warning:
                self._screen.warning(f"{self._recipe.name}/{self._recipe.variant_name}: {warning}")

    def _report(self, status: str, code: ExitCode, **rest: Any) -> JobReport:
        size = (self._metrics or {}).get("size_bytes")
        return JobReport(
            recipe=self._recipe.name,
            variant=self._recipe.variant_name,
            status=status,
            exit_code=code,
            size_bytes=int(size.value) if size else None,
            metrics=self._metrics,
            gates=(*self._verdicts, *self._timed),
            runtimes=self._runtimes,
            latency=self._time,
            hops=self._hops,
            actions=tuple(self._results.values()),
            **rest,
        )


def _refuse_broken(verdicts: Sequence[Verdict], runtimes: Sequence[RuntimeVerdict] = ()) -> None:
    """Raise GateError if a limit does not hold, here or in another runtime."""
    broken = [str(verdict) for verdict in verdicts if not verdict.passed]
    elsewhere = [verdict for verdict in runtimes if not verdict.passed]
    if broken or elsewhere:
        improve = ["improve the model or the quantization, or change validation.gates"] if broken else []
        hints = dict.fromkeys([*improve, *(verdict.hint for verdict in elsewhere)])
        raise GateError(
            f"gate failed: {'; '.join([*broken, *map(str, elsewhere)])}",
            f"nothing was packaged and the previous bundle, if any, is untouched; {'; '.join(hints)}",
        )


class _Recorder:
    """Passes events on and keeps the results, so that a failed build can still say what it did."""

    def __init__(self, screen: Screen, results: dict[str, Result]) -> None:
        self._results = results
        self._running: dict[str, str] = {}
        self._started = screen.started
        self.progressed: Callable[[Action, int, int], None] = screen.progressed
        self.waiting: Callable[[Action], None] = screen.waiting
        self.warning: Callable[[str], None] = screen.warning
        self._finished = screen.finished

    @property
    def failed(self) -> str:
        """The stage of the first action that was started and never finished; empty without one."""
        return next(iter(self._running.values()), "")

    def started(self, action: Action, reason: str) -> None:
        self._running[action.name] = action.stage
        self._started(action, reason)

    def finished(self, result: Result) -> None:
        self._running.pop(result.action.name, None)
        self._results[result.action.name] = result
        self._finished(result)


def _portable(recipe: Recipe) -> Recipe:
    """Return the recipe with absolute paths, which only this machine knows, cut to their names, and URLs without secrets."""
    cut = {field: portable_place(part) for field in ("source", "dataset", "calibration") if (part := getattr(recipe, field))}
    if isinstance(recipe.source, Tf1Checkpoint) and recipe.source.graph:
        cut["source"] = replace(cut["source"], graph=portable_text(recipe.source.graph))
    if recipe.validation.baseline:
        cut["validation"] = replace(recipe.validation, baseline=portable_text(recipe.validation.baseline))
    return replace(recipe, **cut, labels=portable_text(recipe.labels) if recipe.labels else None)
