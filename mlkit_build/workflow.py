"""One job from recipe to bundle: load, run the actions, judge, package, publish. Every failure ends as a report."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlkit_build import pipeline
from mlkit_build.bundle.archives import Archive
from mlkit_build.bundle.baseline import Baseline, read_baseline
from mlkit_build.bundle.contents import Contents, completed, made_files
from mlkit_build.bundle.manifest import SCHEMA, ActionEntry, FileEntry, Manifest, entries, metric_entries
from mlkit_build.bundle.placing import Placing
from mlkit_build.bundle.publish import check_place
from mlkit_build.bundle.sbom import Input
from mlkit_build.engine import Action, Decision, Engine, Result
from mlkit_build.engine.pool import Pool
from mlkit_build.engine.shared import Shared
from mlkit_build.engine.toolchain import whole_toolchain
from mlkit_build.errors import ConfigError, ExitCode, GateError, MlkitBuildError, SourceError, StageError
from mlkit_build.formats import ARCHIVES
from mlkit_build.gates import Verdict, unjudged
from mlkit_build.job import Job, JobReport
from mlkit_build.judging import Judgement, judged, judged_time, refuse_slow
from mlkit_build.locating import Locator
from mlkit_build.mlkit.app_view import AppView, Suspicion
from mlkit_build.opening import Prepare, cache_folder, opened_environments, opened_locator, opened_store
from mlkit_build.plain import from_plain
from mlkit_build.screen import Recorder, Screen
from mlkit_build.signature import FrozenSignature
from mlkit_build.store import BlobUnusableError, LayeredStore, Tree
from mlkit_build.timing import Timing

if TYPE_CHECKING:
    from mlkit_build.locking import Enforced
    from mlkit_build.signing import Signer


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
        opened_store(job, screen, shared) as store,
        opened_locator(job, screen, fetches=True) as locate,
        opened_environments(job, screen, makes=True) as prepare,
    ):
        run = _Run(job, store, pool, screen, locate, prepare, shared)
        try:
            report = run.to_bundle(command, started)
        except MlkitBuildError as error:
            report = run.failed(error)
    report = replace(report, seconds=time.time() - started)
    screen.job_finished(report)
    return report


def plan(job: Job, screen: Screen, *, explains: bool = False) -> list[Decision]:
    """Return what `build` would do and why, doing nothing.

    Args:
        explains: Whether what waits for other actions is compared with earlier builds, too.

    Raises:
        MlkitBuildError: A file of the recipe is missing.
    """
    with (
        opened_store(job, screen) as store,
        opened_locator(job, screen, fetches=False) as locate,
        opened_environments(job, screen, makes=False) as prepare,
    ):
        try:
            return _Run(job, store, Pool(), screen, locate, prepare).plan(explains=explains)
        except MlkitBuildError as error:
            raise locate.as_stated(error) from error


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
        self._stage = "load"
        self._judged: Judgement | None = None
        self._time: Timing | None = None
        self._timed: tuple[Verdict, ...] = ()
        self._screen = Recorder(screen, self._results)
        self._engine = Engine(
            store,
            pool,
            self._screen,
            scope=job.recipe.name,
            logs=cache_folder(job) / "logs",
            jobs=job.settings.jobs,
            shared=shared,
            tell=pipeline.telling(job.recipe),
        )

    def plan(self, *, explains: bool) -> list[Decision]:
        files = self._load()
        self._held_to(files)
        baseline = self._baseline(files)
        measuring = pipeline.actions(self._recipe, files)
        records = {decision.action.name: decision.record for decision in self._engine.plan(measuring)}

        def found(action: str, file: str) -> Path:
            record = records[action]
            assert record is not None
            return self._store.blob(record.outputs[file])

        if all(records.values()):
            with contextlib.suppress(BlobUnusableError):  # then it is set aside, and the plan below says that it would run
                self._judged = judged(self._recipe, found, baseline)
        decisions = self._engine.plan([*measuring, *self._packaging(files), *self._timing()], explains=explains)
        tell = pipeline.telling(self._recipe)
        return pipeline.with_samples(decisions, self._engine.earlier, self._store.blob, self._engine.file_digests, tell)

    def to_bundle(self, command: Sequence[str], started: float) -> JobReport:
        place = Path(self._job.settings.output_dir).expanduser() / self._recipe.name / self._recipe.variant_name
        check_place(place)
        signer = self._signer()
        files = self._load()
        held = self._held_to(files)
        baseline = self._baseline(files)
        self._engine.run(pipeline.actions(self._recipe, files))
        self._stage = "validate"
        self._judged = judgement = judged(self._recipe, self._engine.output, baseline)
        for warning in judgement.warnings:
            self._screen.warning(f"{self._recipe.name}/{self._recipe.variant_name}: {warning}")
        judgement.refuse(self._suspicion(files) if judgement.is_as_bad else None)
        self._stage = "package"
        packaging = self._packaging(files)
        self._engine.run([*packaging, *self._timing()])
        self._time, self._timed = judged_time(self._recipe, self._engine.output)
        refuse_slow(self._time, self._timed)
        contents = self._contents(files, packaging, judgement)
        if held:
            held.after(contents.manifest, contents.data)
        unchanged = contents.are_at(place, signer)
        if not unchanged:
            self._publish(contents, files, place, signer, command, started)
        return self._report("unchanged" if unchanged else "built", ExitCode.OK, bundle=place)

    def failed(self, error: MlkitBuildError) -> JobReport:
        error = self._locate.as_stated(error)
        status = {ExitCode.CONFIG: "config_error", ExitCode.GATE: "gate_failed"}.get(error.exit_code, "failed")
        stage = "" if isinstance(error, GateError) else self._screen.failed or self._stage
        return self._report(status, error.exit_code, error=error, stage=stage)

    def _load(self) -> pipeline.Files:
        files = pipeline.load(self._recipe, self._job.folder, self._locate)
        for warning in files.warnings:
            self._screen.warning(f"{self._recipe.name}/{self._recipe.variant_name}: {warning}")
        return replace(files, environments=self._prepare())

    def _inputs(self, placing: Placing) -> tuple[FileEntry, ...]:
        return entries([(found.name, self._engine.file_digest(found.path)) for found in placing.inputs()])

    def _held_to(self, files: pipeline.Files) -> Enforced | None:
        """Return what the bundle must be, if it is locked. Raises LockError where it is made of something else."""
        if not self._job.settings.locked:
            return None
        from mlkit_build.locking import Enforced

        held = Enforced.open(self._job)
        placing = self._placing(files)
        held.before(placing.recipe, self._inputs(placing))
        return held

    def _baseline(self, files: pipeline.Files) -> Baseline | None:
        if files.baseline is None:
            return None
        place = Path(self._job.settings.output_dir).expanduser() / self._recipe.name / self._recipe.variant_name
        measured = [found for found in self._placing(files).inputs() if "dataset" in found.samples]
        samples = {found.name: self._engine.file_digest(found.path).sha256 for found in measured}
        return read_baseline(files.baseline, self._recipe.name, place, samples)

    def _placing(self, files: pipeline.Files) -> Placing:
        return Placing(self._recipe, files.by_role(), self._job.folder)

    def _packaging(self, files: pipeline.Files) -> list[Action]:
        found = self._judged
        return pipeline.packaging(self._recipe, files, found.verdicts if found else (), found.runtimes if found else ())

    def _timing(self) -> list[Action]:
        action = pipeline.timing(self._recipe)
        return [action] if action else []

    def _contents(self, files: pipeline.Files, packaging: Sequence[Action], judgement: Judgement) -> Contents:
        recipe = self._recipe
        placing = self._placing(files)
        order = [action.name for action in [*pipeline.actions(recipe, files), *packaging]]
        manifest = Manifest(
            schema=SCHEMA,
            name=recipe.name,
            version=recipe.version,
            variant=recipe.variant_name,
            recipe=placing.recipe,
            signature=FrozenSignature.read(self._engine.output("freeze", "signature.json")),
            inputs=self._inputs(placing),
            outputs=(),
            actions=tuple(ActionEntry(name, self._results[name].key) for name in order),
            metrics=metric_entries(judgement.metrics),
            gates=judgement.verdicts,
            hops=judgement.hops,
            runtimes=judgement.runtimes,
            skipped=judgement.skipped,
            app=self._view(next(action for action in packaging if action.name == "package")),
            quantization=judgement.quantization,
            toolchain=whole_toolchain(name for found in order for name in self._results[found].action.packages),
        )
        stated = zip(manifest.inputs, placing.inputs(), strict=True)
        return completed(
            manifest,
            made_files(recipe.name, [self._results[action.name] for action in packaging if action.name != "app"]),
            [Input(entry, found.samples, is_folder=isinstance(found.path, Tree)) for entry, found in stated],
            [Archive(kind, f"{recipe.name}-{recipe.variant_name}") for kind in ARCHIVES if kind in recipe.package.formats],
        )

    def _publish(
        self,
        contents: Contents,
        files: pipeline.Files,
        place: Path,
        signer: Signer | None,
        command: Sequence[str],
        started: float,
    ) -> None:
        from mlkit_build.bundle.provenance import statement
        from mlkit_build.bundle.replaced import lost
        from mlkit_build.bundle.repository import repository_of

        if gone := lost(place, contents.data):
            self._screen.warning(f"{self._recipe.name}/{self._recipe.variant_name}: {gone}")
        results = list(self._results.values())
        repository = repository_of(self._job.folder, self._job.conf, [path for _, path in files.by_role()])

        def provenance(subjects: Sequence[FileEntry]) -> bytes:
            return statement(contents.manifest, results, subjects, repository, command, started, self._time)

        contents.publish(place, self._engine.output, provenance, signer)

    def _signer(self) -> Signer | None:
        """Return who signs the bundle. Raises ConfigError where nobody could, before anything is built."""
        if not self._recipe.package.sign.asked:
            return None
        from mlkit_build.signing import open_signer

        return open_signer(self._recipe.package.sign)

    def _suspicion(self, files: pipeline.Files) -> Suspicion | None:
        """Return what explains that TensorFlow's model is as bad, if anybody can look."""
        action = pipeline.suspecting(self._recipe, files)
        if action is None:
            return None
        with contextlib.suppress(StageError, SourceError, ConfigError):  # the gate failed, and that is what must be told
            self._engine.run([action])
            return from_plain(Suspicion, json.loads(self._engine.output("suspect", "suspect.json").read_bytes()))
        return None

    def _view(self, package: Action) -> AppView:
        """Return how right the packaged file was found to be in an app, or why nobody looked."""
        if "app" not in self._results:
            return AppView(package.params["not_viewed"])
        return from_plain(AppView, json.loads(self._engine.output("app", "app.json").read_bytes()))

    def _report(self, status: str, code: ExitCode, **rest: Any) -> JobReport:
        found = self._judged
        gates = (*(found.verdicts if found else ()), *self._timed)
        return JobReport(
            recipe=self._recipe.name,
            variant=self._recipe.variant_name,
            status=status,
            exit_code=code,
            size_bytes=int(found.metrics["size_bytes"].value) if found else None,
            metrics=found.metrics if found else None,
            gates=gates,
            unjudged=unjudged(self._recipe.validation.gates, gates),
            runtimes=found.runtimes if found else (),
            latency=self._time,
            hops=found.hops if found else None,
            actions=tuple(self._results.values()),
            **rest,
        )
