"""The decision: a key that depends on everything that decides the result and on nothing else, and a reason in a few words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.engine import Action, Decision, OutputOf, decide
from mlkit_build.engine.decide import differences, key_document
from mlkit_build.plain import canonical
from mlkit_build.store import Digest, Record

TOOLCHAIN = {"python": "3.11", "machine": "x86_64", "numpy": "2.0.0"}
INPUTS = {"graph": Digest.of_bytes(b"graph"), "samples": Digest.of_bytes(b"samples")}

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, -0.0, 1.0, 0.5]) | st.text("ab", max_size=2),
    lambda children: st.lists(children, max_size=2) | st.dictionaries(st.text("ab", max_size=2), children, max_size=2),
    max_leaves=6,
)


class Earlier:
    """The records of earlier builds, newest first."""

    def __init__(self, *records: Record, gone: bool = False) -> None:
        self.records = records
        self.gone = gone

    def find(self, key: str) -> Record | None:
        return None if self.gone else next((record for record in self.records if record.key == key), None)

    def recent(self, scope: str) -> Iterator[Record]:
        assert scope == "toy/quantize"
        yield from self.records


def an_action(version: int = 1, outputs: tuple[str, ...] = ("model.tflite",), **params: Any) -> Action:
    return Action("quantize", "convert", version, "quantizer", "m:f", params or {"samples": 100}, {}, outputs)


def record(
    action: Action, inputs: Mapping[str, Digest] = INPUTS, toolchain: Mapping[str, str] = TOOLCHAIN, outputs: tuple[str, ...] = ()
) -> Record:
    """Return the record that a build of `action` leaves, read back from JSON."""
    document = json.loads(canonical(key_document(action, inputs, toolchain)))
    names = outputs or action.outputs
    key = Digest.of_bytes(canonical(document)).sha256
    return Record(key, document, {name: Digest.of_bytes(b"") for name in names}, 1.0)


def decided(
    action: Action,
    *earlier: Record,
    inputs: Mapping[str, Digest] = INPUTS,
    toolchain: Mapping[str, str] = TOOLCHAIN,
    gone: bool = False,
) -> Decision:
    return decide(action, inputs, toolchain, Earlier(*earlier, gone=gone), "toy/quantize")


def test_an_unchanged_action_is_a_hit() -> None:
    decision = decided(an_action(), record(an_action()))
    assert decision.hit
    assert decision.reason == "unchanged"
    assert decision.record == record(an_action())


def test_an_action_without_a_history_was_never_built_here() -> None:
    decision = decided(an_action())
    assert not decision.hit
    assert decision.reason == "never built here"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"action": an_action(samples=200)}, "params.samples: 100 -> 200"),
        ({"action": an_action(samples=100.0)}, "params.samples: 100 -> 100.0"),
        ({"action": an_action(samples=[1, 2])}, "params.samples: 100 -> [1,2]"),
        ({"action": an_action(samples=100, seed=7)}, "params.seed: new (7)"),
        ({"action": an_action(seed=7)}, "params.samples: gone; params.seed: new (7)"),
        ({"action": an_action(version=2)}, "version: 1 -> 2"),
        ({"toolchain": {**TOOLCHAIN, "numpy": "2.1.0"}}, "toolchain.numpy: 2.0.0 -> 2.1.0"),
        ({"toolchain": {**TOOLCHAIN, "keras": "3.0"}}, "toolchain.keras: new (3.0)"),
    ],
)
def test_a_miss_names_what_changed(changed: dict[str, Any], reason: str) -> None:
    changed.setdefault("action", an_action())
    found = decided(changed.pop("action"), record(an_action()), **changed)
    assert not found.hit
    assert found.reason == reason


def test_a_changed_input_is_named_with_short_digests() -> None:
    old, new = Digest.of_bytes(b"graph").sha256, Digest.of_bytes(b"other").sha256
    found = decided(an_action(), record(an_action()), inputs={**INPUTS, "graph": Digest.of_bytes(b"other")})
    assert found.reason == f"inputs.graph: {old[:8]} -> {new[:8]}"


def test_a_long_value_is_cut() -> None:
    found = decided(an_action(text="b" * 100), record(an_action(text="a" * 100)))
    assert found.reason == f"params.text: {'a' * 37}... -> {'b' * 37}..."


def test_many_changes_are_counted() -> None:
    old, new = an_action(a=1, b=1, c=1, d=1, e=1), an_action(a=2, b=2, c=2, d=2, e=2)
    assert decided(new, record(old)).reason == "params.a: 1 -> 2; params.b: 1 -> 2; params.c: 1 -> 2; and 2 more"


def test_the_nearest_of_several_records_explains_the_miss() -> None:
    far, near = record(an_action(samples=5, seed=5)), record(an_action(samples=100, seed=5))
    assert decided(an_action(samples=100, seed=6), far, near).reason == "params.seed: 5 -> 6"


def test_of_equally_near_records_the_newest_explains_the_miss() -> None:
    newest, oldest = record(an_action(samples=300)), record(an_action(samples=200))
    assert decided(an_action(samples=100), newest, oldest).reason == "params.samples: 300 -> 100"


def test_a_record_without_its_files_is_a_miss_that_says_so() -> None:
    decision = decided(an_action(), record(an_action(samples=3)), record(an_action()), gone=True)
    assert not decision.hit
    assert decision.reason == "its cached files are gone or damaged"


def test_a_record_with_other_outputs_than_the_action_promises_is_a_miss() -> None:
    assert not decided(an_action(), record(an_action(), outputs=("other.tflite",))).hit


def test_order_of_params_inputs_and_tools_does_not_matter() -> None:
    forth = decided(an_action(samples=1, seed=2))
    back = decided(
        an_action(seed=2, samples=1),
        inputs=dict(reversed(INPUTS.items())),
        toolchain=dict(reversed(TOOLCHAIN.items())),
    )
    assert forth.key == back.key


def test_the_key_is_pinned_so_that_caches_outlive_a_release() -> None:
    # sha256 of the canonical document; a change here is a new KEY_SCHEMA.
    spelled = canonical(key_document(an_action(), INPUTS, TOOLCHAIN)).decode()
    graph, samples = (INPUTS[name].sha256 for name in ("graph", "samples"))
    assert spelled == (
        f'{{"action":"quantize","inputs":{{"graph":"{graph}","samples":"{samples}"}},"params":{{"samples":100}},'
        '"schema":1,"toolchain":{"machine":"x86_64","numpy":"2.0.0","python":"3.11"},"version":1}'
    )
    assert decided(an_action()).key == Digest.of_bytes(spelled.encode()).sha256


@settings(max_examples=50)
@given(plain_values, plain_values)
def test_keys_are_equal_exactly_when_the_params_are_spelled_the_same(first: Any, second: Any) -> None:
    keys = [decided(an_action(value=value)).key for value in (first, second)]
    assert (keys[0] == keys[1]) is (canonical(first) == canonical(second))


@settings(max_examples=50)
@given(plain_values, plain_values)
def test_a_miss_always_has_a_reason_and_a_hit_has_no_differences(first: Any, second: Any) -> None:
    found = differences(first, second, "value")
    assert (found == []) is (canonical(first) == canonical(second))
    assert all(line.startswith("value") for line in found)


@settings(max_examples=50)
@given(plain_values)
def test_a_value_that_went_through_json_does_not_differ(value: Any) -> None:
    assert differences(json.loads(canonical(value)), value) == []


def test_a_tuple_does_not_differ_from_the_list_that_json_made_of_it() -> None:
    assert differences({"shape": [1, 28]}, {"shape": (1, 28)}) == []


def test_params_that_json_cannot_spell_have_no_key() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        decided(an_action(value=float("nan")))


def test_a_difference_within_a_list_is_named_by_its_place() -> None:
    old, new = [{"limit": "min", "value": 0.99}], [{"limit": "min", "value": 0.98}]
    assert differences({"verdicts": old}, {"verdicts": new}, "params") == ["params.verdicts[0].value: 0.99 -> 0.98"]


def test_what_waits_is_compared_as_far_as_it_is_known() -> None:
    inputs = {"graph": OutputOf("freeze", "graph"), "samples": OutputOf("load", "samples")}
    earlier = record(an_action(samples=100))
    action = replace(an_action(samples=200), inputs=inputs)
    known = {"samples": Digest.of_bytes(b"others")}
    found = decide(action, known, TOOLCHAIN, Earlier(earlier), "toy/quantize", ["freeze"])
    assert (found.key, found.hit, found.reason) == ("", False, "waits for freeze")
    assert {change.path for change in found.changes} == {"params.samples", "inputs.samples"}


def test_all_changes_are_kept_though_the_reason_is_short() -> None:
    found = decided(an_action(a=2, b=2, c=2, d=2, e=2), record(an_action(a=1, b=1, c=1, d=1, e=1)))
    assert [(change.path, change.old, change.new) for change in found.changes] == [(f"params.{name}", 1, 2) for name in "abcde"]


def test_a_hit_has_no_changes() -> None:
    assert decided(an_action(), record(an_action(samples=1)), record(an_action())).changes == ()
