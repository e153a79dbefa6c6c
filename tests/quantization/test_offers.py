"""The table of offers keeps its word: what it offers is built and computes, all else is refused before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from mlkit_build.errors import ConfigError
from mlkit_build.quantization.offers import OFFERS, check_offered
from mlkit_build.recipe import Quantization, Rule
from mlkit_build.recipe.quantization import ALGORITHMS, BACKENDS, GRANULARITIES, IO_TYPES, MODES, OBSERVERS
from tests.quantization.models import Tower, answers, quantized

# Mean absolute error of the scores, which are shares of one: twice the worst that was measured with ai-edge-quantizer 0.10 and
# TensorFlow 2.21 over all that is offered in the mode. Answers that have nothing to do with the model are off by 0.3 and more.
LIMITS = {
    "float32": 0.0,
    "float16": 0.0001,
    "dynamic_range": 0.016,
    "dynamic_range_int4": 0.11,
    "weight_only_int8": 0.015,
    "weight_only_int4": 0.11,
    "int8": 0.02,
    "int16x8": 0.015,
}


def every() -> Iterator[Quantization]:
    for backend, mode, granularity, algorithm, io in product(BACKENDS, MODES, GRANULARITIES, ALGORITHMS, IO_TYPES):
        yield Quantization(backend=backend, mode=mode, granularity=granularity, algorithm=algorithm, io=io)


def is_offered(asked: Quantization) -> bool:
    offer = OFFERS[asked.backend].get(asked.mode)
    if offer is None or (asked.algorithm == "mse" and asked.granularity.startswith("blockwise")):
        return False
    return asked.granularity in offer.granularities and asked.algorithm in offer.algorithms and asked.io in offer.io


OFFERED = [asked for asked in every() if is_offered(asked)]


def test_limits_are_stated_for_every_mode_and_far_below_chance() -> None:
    assert set(LIMITS) == set(MODES)
    assert max(LIMITS.values()) < 0.15


@pytest.mark.parametrize("asked", OFFERED, ids=lambda asked: asked.title)
def test_what_is_offered_is_built_passes_the_truth_check_and_computes_what_the_float_model_does(
    tower: Tower, tmp_path: Path, asked: Quantization
) -> None:
    check_offered(asked)
    path, summary = quantized(tower, asked, tmp_path)
    found = answers(path, asked.io)
    assert np.abs(found - tower.expected).mean() <= LIMITS[asked.mode]
    if not asked.is_float:
        assert (summary["inputs"], summary["outputs"]) == ([asked.io], [asked.io])


def test_what_is_not_offered_is_refused_with_what_was_found_and_what_there_is() -> None:
    refused = [asked for asked in every() if not is_offered(asked)]
    assert len(refused) > 1000
    for asked in refused:
        with pytest.raises(ConfigError, match=r"^quantization\.(mode|io|granularity|algorithm): ") as caught:
            check_offered(asked)
        field = caught.value.message.partition(":")[0].removeprefix("quantization.")
        assert getattr(asked, field) in caught.value.message
        assert caught.value.hint


def test_where_a_hint_sends_the_user_the_thing_is_offered() -> None:
    plural = {"granularity": "granularities", "algorithm": "algorithms"}
    sent = set()
    for asked in every():
        if is_offered(asked) or asked.mode not in OFFERS[asked.backend]:
            continue
        with pytest.raises(ConfigError) as caught:
            check_offered(asked)
        field = caught.value.message.partition(":")[0].removeprefix("quantization.")
        backend = caught.value.hint.partition("quantization.backend=")[2] or asked.backend
        named = [mode for mode in MODES if f" {mode}," in f"{caught.value.hint},".replace(" with", ",")] or [asked.mode]
        if field in plural and asked.algorithm != "mse":
            assert all(getattr(asked, field) in getattr(OFFERS[backend][mode], plural[field]) for mode in named), (
                caught.value.hint
            )
            sent.add((backend != asked.backend, named != [asked.mode]))
    assert sent == {(False, True), (True, False), (True, True)}


def test_a_mode_that_one_backend_lacks_is_to_be_had_from_the_other() -> None:
    for mode in MODES:
        if mode not in OFFERS["converter"]:
            with pytest.raises(ConfigError, match=rf"^quantization\.mode: the backend 'converter' has no {mode}") as caught:
                check_offered(Quantization(mode=mode, backend="converter"))
            assert caught.value.hint == "use quantization.backend=litert"
            check_offered(Quantization(mode=mode))


@pytest.mark.parametrize("field", ["mode", "io", "granularity", "algorithm", "observer", "backend"])
def test_an_unknown_word_lists_the_known_ones(field: str) -> None:
    known = {
        "mode": MODES,
        "io": IO_TYPES,
        "granularity": GRANULARITIES,
        "algorithm": ALGORITHMS,
        "observer": OBSERVERS,
        "backend": BACKENDS,
    }[field]
    wrong = known[0] + "x"
    with pytest.raises(ConfigError) as caught:
        check_offered(Quantization(**{field: wrong}))
    assert caught.value.message == f"quantization.{field}: expected one of {', '.join(known)}, found {wrong!r}"
    assert f"did you mean {known[0]!r}" in caught.value.hint


def test_the_converters_observer_is_its_own() -> None:
    check_offered(Quantization(mode="int8", backend="converter"))
    for observer in OBSERVERS[1:]:
        check_offered(Quantization(mode="int8", observer=observer))
        with pytest.raises(ConfigError, match=r"^quantization\.observer: .* found") as caught:
            check_offered(Quantization(mode="int8", backend="converter", observer=observer))
        assert "backend=litert" in caught.value.hint


@pytest.mark.parametrize(("percentile", "taken"), [(50.0, False), (50.1, True), (99.9, True), (100.0, True), (100.1, False)])
def test_a_percentile_is_taken_where_it_is_a_share_that_means_something(percentile: float, taken: bool) -> None:
    asked = Quantization(mode="int8", observer="percentile", percentile=percentile)
    if taken:
        check_offered(asked)
        return
    with pytest.raises(ConfigError, match=rf"^quantization\.percentile: expected .* found {percentile:g}"):
        check_offered(asked)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Quantization(rules=(Rule(mode="int8"),)), r"rules\[0\]: expected an operator, a tensor, or both; found neither"),
        (Quantization(rules=(Rule(operator="CONV_2D", mode="int9"),)), r"rules\[0\]\.mode: expected one of .* found 'int9'"),
        (
            Quantization(rules=(Rule(operator="CONV_2D", mode="float32"), Rule(tensor="a(", mode="int8"))),
            r"rules\[1\]\.tensor: expected a regular expression, found 'a\('",
        ),
        (
            Quantization(backend="converter", rules=(Rule(operator="CONV_2D", mode="float16"),)),
            "rules: TensorFlow's converter quantizes all operators alike",
        ),
        (
            Quantization(mode="dynamic_range", io="uint8", rules=(Rule(operator="CONV_2D", mode="int8"),)),
            "io: 'uint8' needs",
        ),
    ],
)
def test_rules_that_cannot_be_are_refused(asked: Quantization, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^quantization\.{said}"):
        check_offered(asked)
