"""Only what an action listed, of samples chosen as they are now, is compared; the rest stays a digest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.changes import Change
from mlkit_build.datasets.listing import listed, to_bytes
from mlkit_build.engine import Action, Decision
from mlkit_build.engine.decide import as_keyed
from mlkit_build.pipeline import with_samples
from mlkit_build.plain import to_plain
from mlkit_build.recipe import Csv, ImageFolder, Npz
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.store import BlobUnusableError, Digest, Record, Tree

SPEC = Npz(path="", features={"x": "images"})
OLD = "0" * 64


class Cache:
    """What an earlier `evaluate` left, and an earlier `freeze`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = 0
        self.path = folder / "now.npz"
        np.savez(folder / "then.npz", images=np.arange(20).reshape(10, 2))
        np.savez(self.path, images=np.arange(1, 21).reshape(10, 2))
        signature = self.added(FrozenSignature((), ()), "signature.json")
        found = listed(SPEC, folder / "then.npz", "dataset", None)
        (folder / "samples.json").write_bytes(to_bytes(found))
        samples = Digest.of_file(folder / "samples.json")
        self.blobs = {signature: folder / "signature.json", samples: folder / "samples.json"}
        document = {"params": {"dataset": to_plain(SPEC)}, "inputs": {"dataset": OLD, "signature.json": signature.sha256}}
        self.records = {
            "evaluate": [Record("k", document, {"samples.json": samples}, 1.0)],
            "freeze": [Record("f", {}, {"signature.json": signature}, 1.0)],
        }

    def added(self, value: Any, name: str) -> Digest:
        value.write(self.folder / name)
        return Digest.of_file(self.folder / name)

    def earlier(self, action: str) -> Iterator[Record]:
        yield from self.records.get(action, [])

    def blob(self, digest: Digest) -> Path:
        self.asked += 1
        if digest not in self.blobs:
            raise BlobUnusableError(digest, "is missing")
        return self.blobs[digest]

    def told(self, *decisions: Decision) -> list[str]:
        return [decision.reason for decision in with_samples(decisions, self.earlier, self.blob, lambda tree: {}, as_keyed)]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def decided(cache: Cache, name: str = "evaluate", spec: Any = SPEC, kind: str = "changed", key: str = "k") -> Decision:
    params = {"dataset": to_plain(spec)}
    action = Action(name, "validate", 1, "litert", "m:f", params, {"dataset": cache.path}, ("samples.json",))
    return Decision(action, key, {}, None, "as it was", (Change("inputs.dataset", kind, OLD, "1" * 64),))


def test_what_is_listed_is_compared_once_for_every_action(cache: Cache) -> None:
    other = replace(decided(cache), action=replace(decided(cache).action, name="reference", params={}))
    text = "inputs.dataset: 10 of 10 samples changed"
    assert cache.told(decided(cache), other) == [text, text]
    assert cache.asked == 2


def test_the_reason_to_wait_stays(cache: Cache) -> None:
    (decision,) = with_samples([decided(cache, key="")], cache.earlier, cache.blob, lambda tree: {}, as_keyed)
    assert decision.reason == "as it was"
    assert [str(change) for change in decision.changes] == ["inputs.dataset: 10 of 10 samples changed"]


def test_what_nobody_listed_stays_a_digest(cache: Cache) -> None:
    kept = dict(cache.records)
    for change in ({"evaluate": []}, {"evaluate": [replace(kept["evaluate"][0], outputs={})]}):
        cache.records = {**kept, **change}
        assert cache.told(decided(cache)) == ["as it was"]
    cache.records = kept
    assert cache.told(decided(cache, name="reference")) == ["as it was"]
    assert cache.told(decided(cache, spec=replace(SPEC, samples=5))) == ["as it was"]
    assert cache.told(decided(cache, kind="new")) == ["as it was"]
    cache.blobs.clear()
    assert cache.told(decided(cache)) == ["as it was"]


def test_rows_are_listed_as_the_numbers_that_the_model_took(cache: Cache, tmp_path: Path) -> None:
    """The signature is that of an earlier freeze, or of one that is reused though another recipe made it."""
    spec = Csv(path="", features={"x": ("a",)})
    cache.path = tmp_path / "now.csv"
    cache.path.write_text("a\n1\n5\n")
    signature = FrozenSignature((TensorSpec("x", "x:0", (1, 1), "int64"),), ())
    digest = cache.added(signature, "signature.json")
    (tmp_path / "then.csv").write_text("a\n1\n2\n")
    (tmp_path / "samples.json").write_bytes(to_bytes(listed(spec, tmp_path / "then.csv", "dataset", signature)))
    samples = Digest.of_file(tmp_path / "samples.json")
    cache.blobs = {digest: tmp_path / "signature.json", samples: tmp_path / "samples.json"}
    document = {"params": {"dataset": to_plain(spec)}, "inputs": {"dataset": OLD, "signature.json": digest.sha256}}
    frozen = Record("f", {}, {"signature.json": digest}, 1.0)
    cache.records = {"evaluate": [Record("k", document, {"samples.json": samples}, 1.0)], "freeze": [frozen]}
    evaluate = decided(cache, spec=spec)
    text = "inputs.dataset: 1 of 2 samples changed"
    assert cache.told(evaluate) == [text]
    cache.records["freeze"] = []
    assert cache.told(evaluate) == ["as it was"]
    freeze = replace(evaluate, action=replace(evaluate.action, name="freeze"), record=frozen, changes=())
    assert cache.told(evaluate, freeze) == [text, "as it was"]


def test_files_of_a_folder_are_known_however_a_table_spells_them(cache: Cache, tmp_path: Path) -> None:
    spec = ImageFolder(path="", input="x", table="table.csv", file="file")
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_bytes(name.encode())
    (folder / "table.csv").write_text("file\n./a\nb\n")
    digest = next(digest for digest, path in cache.blobs.items() if path.name == "signature.json")
    (tmp_path / "samples.json").write_bytes(to_bytes(listed(spec, folder, "dataset", None)))
    samples = Digest.of_file(tmp_path / "samples.json")
    cache.blobs[samples] = tmp_path / "samples.json"
    document = {"params": {"dataset": to_plain(spec)}, "inputs": {"dataset": OLD, "signature.json": digest.sha256}}
    cache.records["evaluate"] = [Record("k", document, {"samples.json": samples}, 1.0)]
    now = decided(cache, spec=spec)
    now = replace(now, action=replace(now.action, inputs={"dataset": Tree(folder)}))
    known = {"a": Digest.of_bytes(b"other").sha256, "b": Digest.of_bytes(b"b").sha256, "table.csv": "0" * 64}
    (found,) = with_samples([now], cache.earlier, cache.blob, lambda tree: known, as_keyed)
    assert found.reason == "inputs.dataset: 1 of 2 samples changed (./a)"
    (found,) = with_samples([now], cache.earlier, cache.blob, lambda tree: {"A": known["a"], "B": known["b"]}, as_keyed)
    assert found == now


@pytest.mark.parametrize("damage", ["gone", "cut", "folder"])
def test_a_file_that_cannot_be_read_is_left_to_the_build(cache: Cache, damage: str) -> None:
    data = cache.path.read_bytes()
    cache.path.unlink()
    if damage == "cut":
        cache.path.write_bytes(data[:100])
    elif damage == "folder":
        cache.path.mkdir()
    assert cache.told(decided(cache)) == ["as it was"]
