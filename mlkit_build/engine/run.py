"""Runs actions in order of need, several at a time: a hit is reused, a miss runs in a child and is recorded."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Protocol

from mlkit_build import progress
from mlkit_build.engine.action import Action, Decision, OutputOf, Result
from mlkit_build.engine.decide import Tell, as_keyed, decide, waiting
from mlkit_build.engine.outcome import Logs, refuse_failed
from mlkit_build.engine.pool import Ended, Pool
from mlkit_build.engine.shared import Shared
from mlkit_build.engine.toolchain import toolchain
from mlkit_build.engine.work import work_folder
from mlkit_build.engine.worker import PRELOADS
from mlkit_build.errors import MlkitBuildError, SourceError, StageError, StoreError
from mlkit_build.store import BlobUnusableError, Digest, LayeredStore, Record, Tree


class Listener(Protocol):
    """Hears what happens, from any thread."""

    def started(self, action: Action, reason: str) -> None:
        """An action begins to run."""

    def progressed(self, action: Action, done: int, total: int) -> None:
        """So many samples of so many have passed through a running action."""

    def waiting(self, action: Action) -> None:
        """Another build is doing this action; this one waits for its result."""

    def finished(self, result: Result) -> None:
        """An action is done, or was reused."""

    def warning(self, text: str) -> None:
        """Something the user should know; nothing stops for it."""


class Engine:
    """Plans and runs the actions of one build.

    Args:
        store: Where results are kept.
        pool: Where misses run.
        listener: Who hears about it.
        scope: Whose history explains a miss: the recipe's name.
        logs: Where the log of a failed action is kept.
        jobs: How many actions may run at once; one per core when left out.
        shared: What other builds of the same run share with this one, instead of `jobs`.
        tell: How reasons tell what changed.
    """

    def __init__(
        self,
        store: LayeredStore,
        pool: Pool,
        listener: Listener,
        *,
        scope: str,
        logs: Path,
        jobs: int | None = None,
        shared: Shared | None = None,
        tell: Tell = as_keyed,
    ) -> None:
        self._store = store
        self._pool = pool
        self._listener = listener
        self._scope = scope
        self._tell = tell
        self._logs = Logs(logs, scope)
        self._alone = shared is None
        self._shared = shared or Shared(jobs)
        self._files = self._shared.files(store)
        self._results: dict[str, Result] = {}
        self._repairing = threading.RLock()

    def plan(self, actions: Sequence[Action], *, explains: bool = False) -> list[Decision]:
        """Return the decision for every action, running none. What waits for a miss has no key yet.

        Args:
            explains: Whether what waits is compared with earlier records too; its files are then read.
        """
        known: dict[str, Mapping[str, Digest]] = {}
        decisions = []
        for action in actions:
            unknown = [name for name in action.needs if name not in known]
            if unknown and not explains:
                decisions.append(waiting(action, unknown))
                continue
            decision = self._decide(action, known)
            if decision.record is not None:
                known[action.name] = decision.record.outputs
            decisions.append(decision)
        return decisions

    def run(self, actions: Sequence[Action]) -> dict[str, Result]:
        """Bring every action's outputs into the store; return all results so far, by action.

        Raises:
            MlkitBuildError: The first action that failed, when those already running are done.
            KeyboardInterrupt: Interrupted; every child is dead.
        """
        left = self._reuse([action for action in actions if action.name not in self._results])
        if not left:
            return dict(self._results)
        running: dict[Future[Result], str] = {}
        failure: MlkitBuildError | None = None
        executor = ThreadPoolExecutor(self._shared.slots, thread_name_prefix="mlkit-build-action")
        try:
            while left or running:
                for action in [] if failure else list(left.values()):
                    if all(name in self._results for name in action.needs):
                        running[executor.submit(self._perform, left.pop(action.name))] = action.name
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    running.pop(future)
                    try:
                        result = future.result()
                    except MlkitBuildError as error:
                        failure = failure or error
                        continue
                    self._results[result.action.name] = result
        except BaseException:
            if not self._alone:  # who shares ends what is shared; nothing of another build ends here
                raise
            self._shared.stop()
            executor.shutdown(wait=False, cancel_futures=True)
            self._pool.close()
            while wait([future for future in running if not future.done()], timeout=0.2).not_done:
                # One that was about to start has started a new server.
                self._pool.close()
            raise
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
        if failure:
            raise failure
        return dict(self._results)

    def output(self, action: str, file: str) -> Path:
        """Return a verified file that an action of this build produced; if the cache lost it, the action runs again."""
        try:
            return self._store.blob(self._results[action].outputs[file])
        except BlobUnusableError as error:
            problem = error.problem
        with self._repairing:
            result = self._results[action]
            with contextlib.suppress(BlobUnusableError):  # another thread may have built it again meanwhile
                return self._store.blob(result.outputs[file])
            self._listener.warning(f"cache: {file} of {action} {problem}; building it again")
            self._results[action] = self._run(result.action, self._decide(result.action, self._outputs()), f"{file} {problem}")
            return self._store.blob(self._results[action].outputs[file])

    def earlier(self, action: str) -> Iterator[Record]:
        """Yield the records of earlier runs of the action of that name, newest first."""
        return self._store.recent(f"{self._scope}/{action}")

    def file_digests(self, tree: Tree) -> dict[str, str]:
        """Return name -> SHA-256 of the files of a folder; what did not change since it was read is not read. Raises OSError."""
        return self._files.digests_of(tree)

    def file_digest(self, path: Path | Tree) -> Digest:
        """Return the digest of a file, or of some files of a folder, of the user. Raises SourceError."""
        try:
            return self._files.digest(path)
        except OSError as error:
            raise SourceError(f"{error.filename or path}: cannot be read: {error.strerror}") from error

    def _perform(self, action: Action) -> Result:
        started = time.monotonic()
        decision = self._decide(action, self._outputs())
        if decision.record is None:
            with self._single_flight(action, decision.key):
                again = self._store.find(decision.key)
                if again is None or set(again.outputs) != set(action.outputs):
                    return self._run(action, decision, decision.reason)
                decision = Decision(action, decision.key, decision.document, again, "built by another build meanwhile")
        assert decision.record is not None
        return self._reused(decision, decision.record, started)

    def _run(self, action: Action, decision: Decision, reason: str) -> Result:
        inputs, own = self._inputs(action)
        with work_folder() as work:
            (work / "out").mkdir()
            log = work / "log"
            request = {
                "function": action.function,
                "params": action.params,
                "inputs": {name: str(path) for name, path in inputs.items()},
                "work": str(work),
                "log": str(log),
                "timeout_s": action.timeout_s,
            }
            with self._shared.slot(alone=action.alone):
                self._listener.started(action, reason)
                ended = self._awaited(self._pool.submit(action.runtime, request), action, work)
            refuse_failed(action, ended, work, self._logs)
            changed = self._files.changed(own)
            if changed:
                raise SourceError(f"{changed}: changed while {action.name} was reading it", "run the build again")
            files = {name: work / "out" / name for name in action.outputs}
            outputs = {name: Digest.of_file(path) for name, path in files.items()}
            seconds = ended.seconds
            self._keep(Record(decision.key, decision.document, outputs, seconds), files, action)
        result = Result(action, decision.key, outputs, False, seconds, reason)
        self._listener.finished(result)
        return result

    def _awaited(self, future: Future[Ended], action: Action, work: Path) -> Ended:
        """Wait for the child, and pass on what it tells of its progress."""
        while True:
            try:
                return future.result(timeout=progress.EVERY_S)
            except TimeoutError:
                found = progress.told(work)
                if found is not None:
                    self._listener.progressed(action, *found)

    def _keep(self, record: Record, files: Mapping[str, Path], action: Action) -> None:
        try:
            self._store.keep(record, files, self._history(action))
        except OSError as error:
            folder = tempfile.gettempdir()
            raise StoreError(
                f"{folder}: {error.strerror}; neither the cache nor the temporary folder can be written",
                "free some space, or set cache.dir= and TMPDIR to folders that can be written",
            ) from error

    @contextlib.contextmanager
    def _single_flight(self, action: Action, key: str) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._shared.flight(self._store, key))
            waiting = False
            while True:
                try:
                    stack.enter_context(self._store.lock(key, timeout=0.2 if waiting else 0.05))
                    break
                except TimeoutError:
                    if self._shared.stopped:
                        raise StageError(f"{action.stage}: {action.name} was interrupted while it waited") from None
                    if not waiting:
                        self._listener.waiting(action)
                    waiting = True
            yield

    def _inputs(self, action: Action) -> tuple[dict[str, Path], list[Path | Tree]]:
        """Return the input paths by name, verified, and those among them that are the user's own files."""
        paths: dict[str, Path] = {}
        own: list[Path | Tree] = []
        for name, item in action.inputs.items():
            if isinstance(item, OutputOf):
                paths[name] = self.output(item.action, item.file)
            else:
                paths[name] = (item.root if isinstance(item, Tree) else item).absolute()
                own.append(item)
        return paths, own

    def _decide(self, action: Action, known: Mapping[str, Mapping[str, Digest]]) -> Decision:
        digests = {
            name: known[item.action][item.file] if isinstance(item, OutputOf) else self.file_digest(item)
            for name, item in action.inputs.items()
            if not isinstance(item, OutputOf) or item.action in known
        }
        unknown = [name for name in action.needs if name not in known]
        tools = toolchain(action.runtime, action.packages)
        return decide(action, digests, tools, self._store, self._history(action), unknown, self._tell)

    def _outputs(self) -> dict[str, Mapping[str, Digest]]:
        return {name: result.outputs for name, result in self._results.copy().items()}  # other threads add results meanwhile

    def _history(self, action: Action) -> str:
        return f"{self._scope}/{action.name}"

    def _reuse(self, actions: Iterable[Action]) -> dict[str, Action]:
        """Take every hit that nothing before it holds up; return what is left, by name.

        Meanwhile the servers of the first misses start, and LiteRT's for what follows them. TensorFlow is never started on a
        guess: what follows a miss may turn out unchanged.
        """
        left: dict[str, Action] = {}
        for action in actions:
            if all(name in self._results for name in action.needs):
                started = time.monotonic()
                decision = self._decide(action, self._outputs())
                if decision.record is not None:
                    self._results[action.name] = self._reused(decision, decision.record, started)
                    continue
                if PRELOADS[action.runtime]:
                    self._pool.warm(action.runtime)
            elif action.runtime in ("litert", "quantizer"):
                self._pool.warm(action.runtime)
            left[action.name] = action
        return left

    def _reused(self, decision: Decision, record: Record, started: float) -> Result:
        seconds = time.monotonic() - started
        result = Result(decision.action, decision.key, record.outputs, True, seconds, decision.reason)
        self._listener.finished(result)
        return result
