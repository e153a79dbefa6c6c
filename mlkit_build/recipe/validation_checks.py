"""Every check of what a recipe measures and of its gates that needs no file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlkit_build.errors import ConfigError, did_you_mean, expect_one_of
from mlkit_build.recipe.schema import Recipe
from mlkit_build.recipe.validation import DELEGATES, MOST_THREADS, Gate, Validation
from mlkit_build.timing import METRIC as LATENCY

if TYPE_CHECKING:
    from mlkit_build.metrics import Value


def check_validation(recipe: Recipe) -> None:
    """Refuse metrics that do not exist, and gates that nothing measures. Raises ConfigError."""
    from mlkit_build.metrics import METRICS, OF_THE_FILE, owners, parse

    validation = recipe.validation
    for index, choice in enumerate(validation.metrics):
        parse(choice, f"validation.metrics[{index}]")
        twice = owners([choice]).keys() & owners(validation.metrics[:index]).keys()
        if choice in validation.metrics[:index] or twice:
            raise ConfigError(f"validation.metrics[{index}]: {choice.name} is measured already; expected each value once")
    if validation.output is not None and recipe.signature.outputs:
        expect_one_of("validation.output", validation.output, tuple(recipe.signature.outputs))
    if (validation.metrics or set(validation.gates) - set(OF_THE_FILE)) and recipe.dataset is None:
        raise ConfigError(
            "dataset: missing, and validation has metrics or gates that need samples",
            "add `dataset: {kind: npz, path: ..., features: {...}, label: ...}`, or ask for no measurement: "
            "validation.metrics=[] validation.gates={}",
        )
    if recipe.dataset and recipe.dataset.label is None:
        for choice in validation.metrics:
            if METRICS[choice.name].labels not in ("", "any"):
                raise ConfigError(f"dataset.label: missing, and validation.metrics asks for {choice.name}")
    _check_measuring(recipe)
    _check_gates(validation)
    _check_agreements(recipe)
    _check_runtimes(recipe)


def _check_measuring(recipe: Recipe) -> None:
    validation = recipe.validation
    if validation.hops < 0:
        raise ConfigError(f"validation.hops: expected at least 0 samples, found {validation.hops}")
    for name in ("arena_bytes", LATENCY):
        if name in validation.gates and recipe.convert.allow_select_ops:
            raise ConfigError(f"validation.gates.{name}: not measured with convert.allow_select_ops", "leave the gate out")
    stated = validation.latency
    if stated.runs == 0 and LATENCY in validation.gates:
        raise ConfigError(f"validation.gates.{LATENCY}: validation.latency.runs is 0, so nothing measures it")
    expect_one_of("validation.latency.delegate", stated.delegate, DELEGATES)
    for field, least in (("runs", 0), ("warmups", 0), ("threads", 1)):
        if getattr(stated, field) < least:
            raise ConfigError(f"validation.latency.{field}: expected at least {least}, found {getattr(stated, field)}")
    if stated.threads > MOST_THREADS:
        raise ConfigError(f"validation.latency.threads: expected at most {MOST_THREADS}, found {stated.threads}")
    gate = validation.gates.get(LATENCY)
    if gate and gate.max_regression is not None:
        raise ConfigError(
            f"validation.gates.{LATENCY}.max_regression: times are in no manifest, so there is no baseline", "state max instead"
        )


def _check_gates(validation: Validation) -> None:
    from mlkit_build.metrics import ALWAYS, METRICS, OF_THE_FILE, owners, value_of

    owner = owners((*ALWAYS, *validation.metrics))
    measured = [*OF_THE_FILE, *owner]
    custom = any(choice.name == "python" for choice in validation.metrics)  # its values are known once it has run
    for name, gate in validation.gates.items():
        where = f"validation.gates.{name}"
        if name not in measured and not custom:
            raise ConfigError(
                f"{where}: nothing measures it; expected one of {', '.join(measured)}",
                _measured_by(name) or did_you_mean(name, measured),
            )
        if gate == Gate():
            raise ConfigError(f"{where}: expected min, max, max_drop or max_regression, found none")
        _check_limits(where, gate, value_of(name))
        if gate.max_drop is not None and name in measured and not (name in owner and METRICS[owner[name]].has_reference):
            raise ConfigError(f"{where}.max_drop: this value has no TensorFlow counterpart to drop from")
        if gate.max_regression is not None and validation.baseline is None:
            raise ConfigError(
                f"{where}.max_regression: there is no baseline to compare with",
                "add `validation.baseline: path/to/manifest.json`",
            )
        _check_significance(where, gate, tested=name in owner and METRICS[owner[name]].is_paired)


def _check_agreements(recipe: Recipe) -> None:
    """Refuse a gate on the highest score of what is no class scores by the metrics that read it."""
    from mlkit_build.metrics.scored import AGREEMENTS, scores_of

    found = scores_of(recipe)
    read = ", ".join(choice.name for choice in recipe.validation.metrics) or f"target {recipe.target.task}"
    for name, expected in AGREEMENTS.items():
        if name in recipe.validation.gates and found != expected:
            raise ConfigError(
                f"validation.gates.{name}: expected an output of class scores for each of the {expected}, found {read}, "
                f"for which it has {f'those of {found}' if found else 'other values'}",
                "leave the gate out",
            )


def _check_limits(where: str, gate: Gate, value: Value) -> None:
    """Refuse limits that no value could break, or none could keep. A drop below 0 asks for a gain."""
    stated = {name: limit for name in ("min", "max", "max_drop", "max_regression") if (limit := getattr(gate, name)) is not None}
    for name, limit in stated.items():
        if value.at_most_one and limit > 1:
            hint = f"it is a share, not a percentage: {limit / 100:g}"
            raise ConfigError(f"{where}.{name}: expected at most 1, found {limit:g}", hint)
        if value.least is not None and limit < value.least and name in ("min", "max"):
            hint = f"no {value.title} is below {value.least:g}"
            raise ConfigError(f"{where}.{name}: expected at least {value.least:g}, found {limit:g}", hint)
    if gate.min is not None and gate.max is not None and gate.min > gate.max:
        raise ConfigError(f"{where}: expected min not above max, found min {gate.min:g} and max {gate.max:g}")


def _check_runtimes(recipe: Recipe) -> None:
    from mlkit_build.runtimes import FIELD, parse_all

    parse_all(recipe.validation.runtimes)
    if recipe.validation.runtimes and recipe.dataset is None:
        raise ConfigError(
            f"dataset: missing, and {FIELD} compares outputs on its samples",
            "add one; `dataset: {kind: random, ...}` compares without data",
        )
    if recipe.validation.runtimes and recipe.convert.allow_select_ops:
        raise ConfigError(
            f"{FIELD}: runs the file in an interpreter alone, and convert.allow_select_ops lets it need TensorFlow",
            "leave one of them out",
        )


def _measured_by(value: str) -> str:
    """Return which metric yields the value, as a hint; empty if none does."""
    from mlkit_build.metrics import METRICS, owners

    top = re.fullmatch(r"top(\d+)", value)
    if top and value != "top1":
        return f"add `{{top_k: {{k: {top[1]}}}}}` to validation.metrics"
    metric = owners(METRICS).get(value, value if value in METRICS and METRICS[value].values else "")
    return f"add {metric} to validation.metrics" if metric else ""


def _check_significance(where: str, gate: Gate, tested: bool) -> None:
    if gate.significance is None:
        return
    where = f"{where}.significance"
    if not 0 < gate.significance < 1:
        raise ConfigError(f"{where}: expected a number between 0 and 1, e.g. 0.05, found {gate.significance:g}")
    if gate.max_drop is None:
        raise ConfigError(f"{where}: says when max_drop fails, and there is no max_drop", "add max_drop, or leave it out")
    if gate.max_drop < 0:
        raise ConfigError(
            f"{where}: excuses a drop that chance explains, and max_drop of {gate.max_drop:g} asks for a gain",
            "leave it out, or let max_drop be at least 0",
        )
    if not tested:
        raise ConfigError(f"{where}: only shares of samples, top1 and top_k, can be tested sample by sample", "leave it out")
