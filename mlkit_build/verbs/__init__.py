"""The verbs: what `mlkit-build` does besides building. One module per verb; adding one adds a line to the table below."""

from __future__ import annotations

from mlkit_build.records import dataclass

__all__ = ["VERBS", "Verb"]


@dataclass(frozen=True)
class Verb:
    """One line of the table.

    Attributes:
        module: Has `run(arguments, roots) -> ExitCode`.
        usage: Its command line after the program's name.
        summary: What it does, in one line.
    """

    module: str
    usage: str
    summary: str


VERBS = {
    "recipes": Verb("mlkit_build.verbs.recipes", "recipes [--json]", "list the recipes that can be built, and where they are"),
    "plan": Verb(
        "mlkit_build.verbs.plan", "plan recipe=NAME [key=value ...]", "show what a build would run and why; run nothing"
    ),
    "explain": Verb(
        "mlkit_build.verbs.explain",
        "explain recipe=NAME [key=value ...] [--json]",
        "show all that differs from what was built before, in the recipe's words; run nothing",
    ),
    "lint": Verb(
        "mlkit_build.verbs.lint",
        "lint FILE.tflite ... [--target TASK]",
        "check finished models against ML Kit's rules, with its own error messages",
    ),
    "inspect": Verb("mlkit_build.verbs.inspect", "inspect PATH [--json]", "show what a model file holds, with a recipe for it"),
    "metadata": Verb(
        "mlkit_build.verbs.metadata",
        "metadata FILE --output OUT [...]",
        "attach to any .tflite what ML Kit wants to know of it: mean and std, labels, name",
    ),
    "quantization-report": Verb(
        "mlkit_build.verbs.quantization_report",
        "quantization-report recipe=NAME [...]",
        "show where a quantized model's accuracy went, and what leaving operators float recovers",
    ),
    "check": Verb(
        "mlkit_build.verbs.check",
        "check recipe=NAME [key=value ...]",
        "build twice without the cache, under other conditions, and compare every byte",
    ),
    "verify": Verb(
        "mlkit_build.verbs.verify",
        "verify BUNDLE... [--key FILE] [--json]",
        "check that bundles are what they say they are, byte for byte, and who signed them",
    ),
    "diff": Verb(
        "mlkit_build.verbs.diff", "diff A B [--html FILE] [--json]", "show what differs between two bundles or two .tflite files"
    ),
    "rebuild": Verb(
        "mlkit_build.verbs.rebuild",
        "rebuild BUNDLE/manifest.json [...]",
        "build what a manifest describes once more, from the same inputs, and compare every byte",
    ),
    "lock": Verb(
        "mlkit_build.verbs.lock",
        "lock recipe=NAME [key=value ...]",
        "build, and write down beside the recipe what it is made of and what came of it",
    ),
    "cache": Verb("mlkit_build.verbs.cache", "cache info|clear [cache.dir=DIR]", "show or empty the build cache"),
}
