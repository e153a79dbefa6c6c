"""The processor is in the key of what takes samples through a model, and of nothing else."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path

import pytest

from mlkit_build.engine.processor import kind_of, processor
from mlkit_build.pipeline import actions, load
from tests.conftest import Workspace

# As Linux lists them: of an Ivy Bridge, a Haswell, a Zen 3, a Skylake-SP and a Sapphire Rapids, those that matter and some more.
IVY_BRIDGE = "sse4_2 avx f16c popcnt"
HASWELL = f"{IVY_BRIDGE} fma movbe bmi1 bmi2 avx2 abm"
ZEN_3 = f"{HASWELL} sha_ni vaes vpclmulqdq"
SKYLAKE = f"{HASWELL} avx512f avx512dq avx512cd avx512bw avx512vl"
SAPPHIRE_RAPIDS = f"{SKYLAKE} avx_vnni avx512_bf16 avx512_vnni avx512_fp16 amx_tile"


@pytest.mark.parametrize(
    ("machine", "features", "expected"),
    [
        ("x86_64", "", "x86-64-v2"),
        ("x86_64", IVY_BRIDGE, "x86-64-v2"),
        ("x86_64", HASWELL, "x86-64-v3"),
        ("x86_64", ZEN_3, "x86-64-v3"),
        ("x86_64", SKYLAKE, "x86-64-v4"),
        ("x86_64", SAPPHIRE_RAPIDS, "x86-64-v4"),
        ("x86_64", HASWELL.replace("fma", ""), "x86-64-v2"),
        ("x86_64", SKYLAKE.replace("avx512vl", ""), "x86-64-v3"),
        ("aarch64", "fp asimd", "aarch64"),
        ("aarch64", "fp asimd asimdhp asimddp", "aarch64+asimdhp+asimddp"),
        ("riscv64", "", "riscv64"),
    ],
)
def test_a_processor_is_known_by_what_it_can_do(machine: str, features: str, expected: str) -> None:
    assert kind_of(machine, features.split()) == expected


def told(monkeypatch: pytest.MonkeyPatch, file: Path) -> str:
    monkeypatch.setattr("mlkit_build.engine.processor._CPUINFO", file)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    processor.cache_clear()
    try:
        return processor()
    finally:
        processor.cache_clear()


def test_it_is_read_from_what_linux_says_of_the_first_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(
        f"processor\t: 0\nflags\t\t: fpu {HASWELL}\nbugs\t\t: spectre_v1\n\nprocessor\t: 1\nflags\t\t: fpu {SKYLAKE}\n"
    )
    assert told(monkeypatch, file) == "x86-64-v3"


@pytest.mark.parametrize("content", [None, "", "model name: a processor that says nothing\n"])
def test_where_nothing_is_known_it_is_the_architecture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "cpuinfo"
    if content is not None:
        file.write_text(content)
    assert told(monkeypatch, file) == "x86_64"


def with_processor(workspace: Workspace, *overrides: str) -> dict[str, bool]:
    job = workspace.compose(*overrides)
    files = load(job.recipe, job.folder, lambda stated, *_: Path(job.folder, stated))
    return {action.name: "cpu" in action.packages for action in actions(job.recipe, files)}


FLOATS = {"calibrate", "reference", "origin", "hops", "evaluate"}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("quantization=int8",), FLOATS),
        (("quantization=int8", "quantization.backend=converter"), FLOATS - {"calibrate"} | {"quantize_graph"}),
        (("quantization=float16", "quantization.backend=converter"), FLOATS - {"calibrate"}),
        (("quantization=int8", "dataset=null", "validation={}"), {"calibrate"}),
        (("quantization=float32", "dataset=null", "validation={}"), ()),
        (("quantization=dynamic_range_int4", "dataset=null", "validation={}"), ()),
        (("quantization=dynamic_range_int4", "quantization.algorithm=hadamard", "dataset=null", "validation={}"), {"quantize"}),
    ],
)
def test_it_is_in_the_key_of_what_takes_samples_through_a_model(
    workspace: Workspace, overrides: tuple[str, ...], expected: Iterable[str]
) -> None:
    found = with_processor(workspace, "recipe=mnist", *overrides)
    assert {"freeze", "contract"} <= found.keys()
    assert {name for name, has in found.items() if has} == set(expected)
