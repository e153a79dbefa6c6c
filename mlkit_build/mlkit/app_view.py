"""What came of looking at the shipped file as an app does, for the manifest and the report."""

from __future__ import annotations

from mlkit_build.records import dataclass


@dataclass(frozen=True)
class AppView:
    """The verdict: a file that fails is not published.

    Attributes:
        skipped: Why it was not looked at; empty when it was.
        samples: How many images it was fed.
        accuracy: The share of them whose label is right: that of the dataset, or of validation where the dataset has none.
        validated: That share as validation found it on the same samples.
        changed: How many samples have another label than validation found.
        labelled: Whether the dataset has labels.
        silent: How many samples get no label at all, because no score reaches the threshold that the file states.
    """

    skipped: str = ""
    samples: int = 0
    accuracy: float = 0.0
    validated: float = 0.0
    changed: int = 0
    labelled: bool = False
    silent: int = 0


@dataclass(frozen=True)
class Suspicion:
    """What explains a model that is bad on its samples in TensorFlow, too: the file is right once it is fed or read otherwise.

    Attributes:
        instead: What is done instead, to continue "with"; empty where nothing usual explains it.
        hint: What to do.
        samples: On how many samples it was tried.
        accuracy: The share of them whose label is right then.
    """

    instead: str = ""
    hint: str = ""
    samples: int = 0
    accuracy: float = 0.0

    def __str__(self) -> str:
        tried = f"it names the right label for {self.accuracy:.2%} of the first {self.samples}"
        return f"with {self.instead} {tried}: {self.hint}, unless the dataset's own samples or labels are so"
