"""`recipe.lock` as a file: it comes back as it was written, and nothing damaged gets past its reader."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlkit_build.errors import ConfigError, StoreError
from mlkit_build.locking import Lock, LockedVariant, changes_between, read_lock, write_variant
from mlkit_build.plain import from_plain

LONG = bool(os.environ.get("MLKIT_BUILD_LONG_TESTS"))
DIGEST = "0123456789abcdef" * 4
texts = st.text(max_size=5)
values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
files = st.lists(st.text("ab/ é.", min_size=1, max_size=5).map(lambda name: f"{DIGEST}  {name}"), max_size=3).map(tuple)
variants = st.builds(
    LockedVariant, st.dictionaries(texts, values, max_size=3), files, st.just({"numpy": "2"}), files, st.just(DIGEST)
)


def a_variant(**changes: Any) -> LockedVariant:
    settings = {"quantization.mode": "int8", "signature.inputs.x.shape": [1, 2]}
    known = {
        "settings": settings,
        "inputs": (f"{DIGEST}  m.pb",),
        "toolchain": {"numpy": "2.4"},
        "outputs": (f"{DIGEST}  m.tflite",),
    }
    return LockedVariant(**{**known, "manifest": DIGEST, **changes})


@settings(max_examples=1000 if LONG else 60)
@given(st.dictionaries(texts, variants, max_size=3))
def test_a_lock_comes_back_as_it_was_written_and_is_written_in_one_way(found: dict[str, LockedVariant]) -> None:
    lock = Lock("mlkit-build/lock/v1", "m", found)
    data = lock.to_bytes()
    again = from_plain(Lock, json.loads(data))
    assert again == lock
    assert again.to_bytes() == data
    assert Lock(lock.schema, lock.recipe, dict(reversed(found.items()))).to_bytes() == data


def test_a_setting_has_one_line_and_a_file_has_one(tmp_path: Path) -> None:
    write_variant(tmp_path, "m", "int8", a_variant())
    lines = [line.strip().rstrip(",") for line in (tmp_path / "recipe.lock").read_text().splitlines()]
    assert '"signature.inputs.x.shape": [1, 2]' in lines
    assert f'"{DIGEST}  m.pb"' in lines


def test_variants_that_are_locked_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    names = [f"v{index}" for index in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: write_variant(tmp_path, "m", name, a_variant()), names))
    lock = read_lock(tmp_path, "m")
    assert lock is not None
    assert sorted(lock.variants) == sorted(names)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.lock"]


def test_a_disk_that_refuses_leaves_the_lock_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_variant(tmp_path, "m", "int8", a_variant())
    before = (tmp_path / "recipe.lock").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        write_variant(tmp_path, "m", "float16", a_variant())
    assert (tmp_path / "recipe.lock").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.lock"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda lock: lock.update(schema="mlkit-build/lock/v9"),
            "schema: expected 'mlkit-build/lock/v1', found 'mlkit-build/lock/v9'",
        ),
        (lambda lock: lock.pop("schema"), "schema: expected"),
        (lambda lock: lock.update(recipe="other"), "it is the lock of another recipe"),
        (lambda lock: lock.update(more=1), "more: unknown field"),
        (lambda lock: lock.pop("variants"), "variants: missing"),
        (lambda lock: lock["variants"]["int8"].pop("inputs"), "variants.int8.inputs: missing"),
        (lambda lock: lock["variants"]["int8"].update(inputs=["x  m.pb"]), "variants.int8.inputs[0]: expected 64 hex digits"),
        (
            lambda lock: lock["variants"]["int8"].update(outputs=[f"{DIGEST}  z", f"{DIGEST}  a"]),
            "variants.int8.outputs: expected the files in the order of their names",
        ),
        (lambda lock: lock["variants"]["int8"].update(manifest="x"), "variants.int8.manifest: expected 64 hex digits"),
        (lambda lock: lock["variants"]["int8"].update(toolchain={"numpy": 2}), "variants.int8.toolchain.numpy: expected a text"),
        (lambda lock: lock.update(variants=[]), "variants: expected a mapping"),
    ],
)
def test_a_lock_that_was_edited_is_refused_with_a_reason(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    write_variant(tmp_path, "m", "int8", a_variant())
    content = json.loads((tmp_path / "recipe.lock").read_bytes())
    change(content)
    (tmp_path / "recipe.lock").write_text(json.dumps(content))
    with pytest.raises(ConfigError) as refused:
        read_lock(tmp_path, "m")
    assert message in refused.value.message
    assert refused.value.message.startswith(str(tmp_path / "recipe.lock"))
    assert "mlkit-build lock" in refused.value.hint


def test_a_lock_cut_anywhere_is_refused(tmp_path: Path) -> None:
    write_variant(tmp_path, "m", "int8", a_variant())
    data = (tmp_path / "recipe.lock").read_bytes()
    for end in range(len(data) - 1):  # without the newline at its end it is whole
        (tmp_path / "recipe.lock").write_bytes(data[:end])
        with pytest.raises(ConfigError):
            read_lock(tmp_path, "m")


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"schema": 1, "schema": 1}', b"\xff", b"[]", b'{"schema": NaN}'])
def test_what_is_no_lock_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "recipe.lock").write_bytes(data)
    with pytest.raises(ConfigError):
        read_lock(tmp_path, "m")


def test_all_that_differs_is_named() -> None:
    other = a_variant(
        settings={"quantization.mode": "float16", "signature.inputs.x.shape": [1, 2], "target.task": "custom"},
        inputs=(f"{'f' * 64}  m.pb", f"{DIGEST}  labels.txt"),
        toolchain={"numpy": "2.5"},
        outputs=(),
        manifest="f" * 64,
    )
    assert changes_between(a_variant(), other) == [
        "quantization.mode: int8 -> float16",
        "target.task: new (custom)",
        "labels.txt: new",
        "m.pb: other content",
        "numpy: 2.4 -> 2.5",
        "m.tflite: gone",
        "manifest.json: other content",
    ]
    assert changes_between(a_variant(), a_variant()) == []


def test_a_file_that_is_listed_twice_differs() -> None:
    line = f"{DIGEST}  m.pb"
    assert changes_between(a_variant(), a_variant(inputs=(line, line))) == ["m.pb: listed 1 times -> 2"]


def test_a_pipe_or_a_folder_in_place_of_the_lock_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recipe.lock")
    with pytest.raises(ConfigError, match=r"recipe\.lock: cannot be read: it is a pipe or a device") as refused:
        read_lock(tmp_path, "m")
    assert refused.value.hint.startswith("move it away")
    (tmp_path / "recipe.lock").unlink()
    (tmp_path / "recipe.lock").mkdir()
    with pytest.raises(ConfigError, match=r"recipe\.lock: cannot be read: Is a directory") as refused:
        write_variant(tmp_path, "m", "int8", a_variant())
    assert refused.value.hint.startswith("move it away")


def test_a_link_stays_and_the_lock_that_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "locks").mkdir()
    link = tmp_path / "recipe" / "recipe.lock"
    link.symlink_to("../locks/m.lock")
    for name in ("int8", "float16"):
        write_variant(tmp_path / "recipe", "m", name, a_variant())
    assert link.is_symlink()
    assert sorted(json.loads((tmp_path / "locks" / "m.lock").read_bytes())["variants"]) == ["float16", "int8"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["locks", "m.lock", "recipe", "recipe.lock"]


@settings(max_examples=1000 if LONG else 60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_of_a_lock_may_be_any_other(tmp_path: Path, data: st.DataObject) -> None:
    """It is read, or refused in one line that can be printed."""
    content = json.loads(Lock("mlkit-build/lock/v1", "m", {"int8": a_variant()}).to_bytes())
    holders = [content, content["variants"], *content["variants"].values()]
    holders += [part for part in content["variants"]["int8"].values() if isinstance(part, (dict, list))]
    holder = data.draw(st.sampled_from(holders))
    key = data.draw(st.sampled_from(list(holder) if isinstance(holder, dict) else list(range(len(holder)))))
    holder[key] = data.draw(values | st.none() | st.sampled_from([float("inf"), "x\n\x1b[31m", "\ud800"]))
    (tmp_path / "recipe.lock").write_text(json.dumps(content), encoding="utf-8")
    refused: list[str] = []
    try:
        lock = read_lock(tmp_path, "m")
    except ConfigError as error:
        refused.append(error.message)
    else:
        assert lock is not None
        assert lock.to_bytes()
    assert all(message.isprintable() for message in refused)


@pytest.mark.parametrize("value", ["1e999", "[" * 900 + "]" * 900])
def test_a_setting_that_nothing_could_write_again_is_refused(tmp_path: Path, value: str) -> None:
    text = Lock("mlkit-build/lock/v1", "m", {"int8": a_variant()}).to_bytes().decode()
    assert '"int8"' in text
    (tmp_path / "recipe.lock").write_text(text.replace('"quantization.mode": "int8"', f'"quantization.mode": {value}'))
    with pytest.raises(ConfigError, match=r"found 1e999|nested too deeply"):
        read_lock(tmp_path, "m")
