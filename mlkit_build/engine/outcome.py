"""What became of a child that ran an action: its files, or the error that says why there are none, and a log that is kept."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

from mlkit_build.engine.action import Action
from mlkit_build.engine.pool import Ended
from mlkit_build.engine.work import is_full
from mlkit_build.engine.worker import RESULT_FILE
from mlkit_build.errors import SourceError, StageError, by_name
from mlkit_build.records import dataclass
from mlkit_build.temporary import no_room

KEPT_LOGS = 50


@dataclass(frozen=True)
class Logs:
    """The logs of failed actions.

    Attributes:
        folder: Where they are kept, if it can be written.
        scope: Whose actions they are: the recipe's name.
    """

    folder: Path
    scope: str

    def keep(self, action: Action, log: Path) -> str:
        """Return where a copy of the log is from now on; empty where none could be made. The oldest go."""
        name = f"{self.scope}-{action.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        for folder in (self.folder, Path(tempfile.gettempdir(), "mlkit-build-logs")):
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                kept = shutil.copyfile(log, folder / name)
                for old in sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)[:-KEPT_LOGS]:
                    old.unlink(missing_ok=True)
                return str(kept)
        return ""


def refuse_failed(action: Action, ended: Ended, work: Path, logs: Logs) -> None:
    """Raise what the child reported, or what became of it; nothing where it wrote every output.

    Args:
        work: The folder that it worked in.
        logs: Where its log is kept.

    Raises:
        MlkitBuildError: The one that it raised.
        SourceError: It took longer than the recipe gives it.
        StageError: It crashed, was killed, or did not write an output.
        StoreError: The disk is full.
    """
    log = work / "log"
    if ended.status < 0:
        known = -ended.status in {number.value for number in signal.Signals}
        name = signal.Signals(-ended.status).name if known else str(-ended.status)
        out_of_memory = "; the system may have run out of memory" if name == "SIGKILL" else ""
        raise StageError(
            f"{action.stage}: {action.name} was killed by signal {name}{out_of_memory}",
            log=logs.keep(action, log),
        )
    if ended.status != 0 and is_full(work):
        raise no_room(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    try:
        result = json.loads((work / RESULT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if action.timeout_s is not None and ended.seconds >= action.timeout_s:
            raise SourceError(
                f"{action.timeout_field}: {action.name} was not done after {action.timeout_s:g} s and was ended",
                f"give it more time with {action.timeout_field}, or see in the log where it was",
                log=logs.keep(action, log),
            ) from error
        raise StageError(
            f"{action.stage}: {action.name} ended with status {ended.status} and no result",
            log=logs.keep(action, log),
        ) from error
    if not result["ok"]:
        if result["kind"] == "crash":
            raise StageError(f"{action.stage}: {action.name}: {result['message']}", log=logs.keep(action, log))
        error_class = by_name(result["kind"])
        kept = logs.keep(action, log) if error_class is StageError else ""
        raise error_class(result["message"], result["hint"], log=kept)
    missing = [name for name in action.outputs if not (work / "out" / name).is_file()]
    if missing:
        raise StageError(f"{action.stage}: {action.name} did not write {', '.join(missing)}", log=logs.keep(action, log))
