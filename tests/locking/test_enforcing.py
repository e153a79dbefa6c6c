"""A build that is held to a lock publishes what every line of the lock says, not only what its manifest stands for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlkit_build.errors import LockError
from mlkit_build.locking import Enforced, LockedVariant
from mlkit_build.locking.document import listed, settings_of
from mlkit_build.store import Digest
from tests.bundle.test_manifest import a_manifest

MANIFEST = a_manifest()
DATA = MANIFEST.to_bytes()
LOCKED = LockedVariant(
    settings=settings_of(MANIFEST.recipe),
    inputs=listed(MANIFEST.inputs),
    toolchain={},
    outputs=listed(MANIFEST.outputs),
    manifest=Digest.of_bytes(DATA).sha256,
)
ZEROS = f"{'0' * 64}  toy.tflite"


def test_what_is_locked_may_be_published() -> None:
    Enforced("toy/float32", LOCKED).after(MANIFEST, DATA)


@pytest.mark.parametrize(
    ("outputs", "named"),
    [
        ((ZEROS,), "toy.tflite: other content"),
        ((), "toy.tflite: new"),
        ((*LOCKED.outputs, ZEROS.replace("toy", "two")), "two.tflite: gone"),
        (LOCKED.outputs * 2, "toy.tflite: listed 2 times -> 1"),
    ],
)
def test_outputs_that_were_edited_are_told_though_the_manifest_is_as_locked(outputs: tuple[str, ...], named: str) -> None:
    with pytest.raises(LockError) as refused:
        Enforced("toy/float32", replace(LOCKED, outputs=outputs)).after(MANIFEST, DATA)
    assert refused.value.message.endswith(f"locked by its manifest, but not by the outputs: {named}")
    assert "the lock was edited" in refused.value.hint


def test_a_manifest_that_differs_is_told_by_the_files_that_do() -> None:
    with pytest.raises(LockError, match=r"though it is made of the same: manifest\.json: other content"):
        Enforced("toy/float32", LOCKED).after(MANIFEST, DATA + b" ")
    with pytest.raises(LockError, match=r"though it is made of the same: toy\.tflite: other content"):
        Enforced("toy/float32", replace(LOCKED, outputs=(ZEROS,))).after(MANIFEST, DATA + b" ")


def test_an_input_that_is_listed_twice_stops_the_build() -> None:
    with pytest.raises(LockError, match=r"graph\.pb: listed 2 times -> 1"):
        Enforced("toy/float32", replace(LOCKED, inputs=LOCKED.inputs * 2)).before(MANIFEST.recipe, MANIFEST.inputs)
