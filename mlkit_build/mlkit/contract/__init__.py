"""The contract of each target: one table of rules, looked at on the signature before anything is converted, and on the finished
file.

ML Kit's image labeling and object detection run a classifier through the TensorFlow Lite Task Library; the quoted sentences are
what the app would log (repository tensorflow/tflite-support). Wrong values of mean and std are no rule: no file shows them.
"""

from __future__ import annotations

from mlkit_build.errors import ConfigError
from mlkit_build.mlkit.contract.rule import ERROR, WARNING, Finding, Rule, finding
from mlkit_build.mlkit.contract.subject import Subject, shipped, signed
from mlkit_build.mlkit.contract.table import BY_ID, RULES
from mlkit_build.mlkit.flatbuffer import DamagedError
from mlkit_build.recipe import ML_KIT_RUNTIME, ML_KIT_TARGETS
from mlkit_build.signature import FrozenSignature

__all__ = [
    "ERROR", "RULES", "WARNING", "Finding", "Rule", "Subject", "check_file", "check_labels", "check_signature",
    "lint", "signed",
]  # fmt: skip


def check_signature(task: str, subject: Subject) -> tuple[str, ...]:
    """Return the ids of the rules that hold, in order; `custom` has none.

    Raises:
        ConfigError: The first rule that is broken, with ML Kit's own sentence.
    """
    if task not in ML_KIT_TARGETS:
        return ()
    early = [rule for rule in RULES if rule.early]
    for rule in early:
        found = finding(rule, subject)
        if found is not None:
            raise ConfigError(f"target.task: {task} {_told(found)}", found.fix)
    return tuple(rule.id for rule in early)


def check_labels(labels: tuple[str, ...], path: str, signature: FrozenSignature, output: str | None) -> None:
    """Compare the number of labels with the number of classes.

    Raises:
        ConfigError: They differ.
    """
    index = next((index for index, spec in enumerate(signature.outputs) if spec.name == output), 0)
    spec, rule = signature.outputs[index], BY_ID["label-count"]
    if spec.size != len(labels):
        raise ConfigError(
            f"labels: {path}: expected {spec.size} labels, one for each class of the output {spec.name!r}, found {len(labels)}; "
            f"in the app ML Kit would say: {rule.says[0] % (spec.size, index, len(labels))}",
            rule.fix,
        )


def lint(data: bytes, task: str, runtime: str | None = None) -> tuple[Finding, ...]:
    """Return what is wrong with a finished file by anyone, in the order in which the app would stumble over it.

    Args:
        data: All of the file.
        task: The target. `custom` has the rules that any interpreter has.
        runtime: The oldest runtime that must compute its operators, e.g. `2.14`; empty for any that there is. None for what the
            target is taken to have.
    """
    from mlkit_build.mlkit.model_file import opened

    if runtime is None:
        runtime = ML_KIT_RUNTIME if task in ML_KIT_TARGETS else ""
    try:
        subject = shipped(opened(data), runtime)
    except DamagedError as error:
        subject = Subject(damage=error)
    rules = [rule for rule in RULES if rule.everywhere or task in ML_KIT_TARGETS]
    if subject.damage:
        rules = rules[:2]  # of a file that is no model there is nothing else to say
    return tuple(found for rule in rules if (found := finding(rule, subject)) is not None)


def check_file(data: bytes, task: str, runtime: str = "") -> tuple[str, ...]:
    """Return the warnings about a finished file, a line each. A build has told of labels that repeat, with their lines.

    Args:
        data: All of the file.
        task: The target.
        runtime: The oldest runtime that must compute its operators; empty for any that there is.

    Raises:
        ConfigError: It breaks a rule of its target, so that no app could use it; names all of them.
    """
    found = lint(data, task, runtime)
    errors = [each for each in found if each.rule.severity == ERROR]
    if errors:
        told = "; ".join(f"{_told(each)} [{each.rule.id}]" for each in errors)
        raise ConfigError(f"target.task: {task} {told}", "; ".join(dict.fromkeys(each.fix for each in errors)))
    return tuple(f"{each.told} [{each.rule.id}]: {each.fix}" for each in found if each.rule.id != "label-repeated")


def _told(found: Finding) -> str:
    return f"expects{found.told.removeprefix('expected')}"
