"""What a rule of the contract is, and what comes of one that is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlkit_build.mlkit.contract.subject import Subject
from mlkit_build.printable import shown
from mlkit_build.records import dataclass

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Broken:
    """How a rule is broken.

    Attributes:
        found: What there is, where the rule wants something else.
        values: What the sentence that the app logs has in its gaps.
        says: Which of the rule's sentences that is; None where the app says nothing of this.
        fix: What mends just this, where that is more than what mends the rule.
    """

    found: str
    values: tuple[Any, ...] = ()
    says: int | None = 0
    fix: str = ""


@dataclass(frozen=True)
class Rule:
    """One demand.

    Attributes:
        id: A stable name.
        severity: `error`: the app cannot use the model; `warning`: it can, and shows something odd.
        expected: What the rule wants.
        says: What the app logs, with `%s` and `%d` where it names what it found. Empty where it says nothing.
        why: What is behind it, or what the app does instead of saying something.
        fix: What to change, in the recipe where that can do it.
        source: Where the demand is made, in tensorflow/tflite-support where nothing else is said.
        check: Returns how it is broken; None when it holds.
        early: Whether the signature alone shows it, before anything is converted.
        stricter: Why a model is refused that the Task Library itself would load; empty where it does not.
        everywhere: Whether it holds for models of the target `custom` too.
    """

    id: str
    severity: str
    expected: str
    says: tuple[str, ...]
    why: str
    fix: str
    source: str
    check: Callable[[Subject], Broken | None]
    early: bool = False
    stricter: str = ""
    everywhere: bool = False


@dataclass(frozen=True)
class Finding:
    """A rule that a model breaks.

    Attributes:
        rule: The rule.
        found: What there is.
        says: What the app logs; empty where it says nothing.
        fix: What to change.
    """

    rule: Rule
    found: str
    says: str
    fix: str

    @property
    def told(self) -> str:
        """The finding in one line."""
        logged = f"; in the app ML Kit would say: {self.says}" if self.says else f". {self.rule.why.rstrip('.')}"
        return f"expected {self.rule.expected}, found {self.found}{logged}"


def finding(rule: Rule, subject: Subject) -> Finding | None:
    """Return what the rule finds wrong; None when it holds."""
    broken = rule.check(subject)
    if broken is None:
        return None
    says = rule.says[broken.says] % broken.values if rule.says and broken.says is not None else ""
    return Finding(rule, shown(broken.found), shown(says), shown(broken.fix or rule.fix))
