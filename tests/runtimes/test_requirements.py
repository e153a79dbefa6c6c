"""What may be asked for: one release of a known interpreter, and nothing that pip could take for something else."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlkit_build.errors import ConfigError
from mlkit_build.runtimes import PACKAGES, Requirement, parse, parse_all


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("tflite_runtime==2.14", Requirement("tflite_runtime", "2.14")),
        ("tflite-runtime==2.14.0", Requirement("tflite_runtime", "2.14")),
        ("TFLite.Runtime==2.5.0.post1", Requirement("tflite_runtime", "2.5.0.post1")),
        ("ai-edge-litert==1.0.1", Requirement("ai_edge_litert", "1.0.1")),
        ("tensorflow==2.20.0rc0", Requirement("tensorflow", "2.20.0rc0")),
    ],
)
def test_one_release_of_a_known_interpreter_is_understood(stated: str, expected: Requirement) -> None:
    assert parse(stated, "x") == expected


@pytest.mark.parametrize(
    ("stated", "message", "hint"),
    [
        ("tflite_runtime", "expected name==version, found 'tflite_runtime'", "e.g. tflite_runtime==2.14"),
        ("tflite_runtime>=2.14", "expected name==version", "e.g. tflite_runtime==2.14"),
        ("tflite_runtime==", "expected name==version", ""),
        ("tflite_runtime==2.*", "expected name==version", ""),
        ("tflite_runtime===2.14", "expected name==version", ""),
        ("==2.14", "expected name==version", ""),
        ("", "expected name==version", ""),
        (
            "tflite_rutime==2.14",
            "expected one of tflite_runtime, ai_edge_litert, tensorflow, found",
            "did you mean 'tflite_runtime'?",
        ),
        ("numpy==2.0", "expected one of tflite_runtime, ai_edge_litert, tensorflow, found 'numpy'", ""),
    ],
)
def test_anything_else_is_refused_with_what_is_expected(stated: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(stated, "validation.runtimes[0]")
    assert caught.value.message.startswith(f"validation.runtimes[0]: {message}")
    assert hint in caught.value.hint


@given(st.text() | st.text().map(lambda text: f"tflite_runtime==2.14{text}") | st.text().map(lambda text: f"{text}==2.14"))
@example("tflite_runtime==2.14; python_version<'4'")
@example("tflite_runtime==2.14 --index-url=http://example.org")
@example("tflite_runtime @ http://example.org/x.whl")
@example("tflite_runtime[extra]==2.14")
@example("tflite_runtime==2.14\n")
@example("tflite_runtime==\N{FULLWIDTH DIGIT TWO}.14")
@example("-r==2.14")
@example("tflite_runtime==" + "1" * 200)
def test_whatever_is_stated_pip_is_asked_for_a_release_of_the_table(stated: str) -> None:
    try:
        found = parse(stated, "x")
    except ConfigError:
        return
    asked, *beside = found.to_install
    assert beside in ([], ["numpy<2"])
    assert asked.startswith(f"{PACKAGES[found.package].distribution}==")
    assert re.fullmatch(r"[a-z-]+==[0-9]+(\.[0-9]+)*((a|b|rc)[0-9]+)?(\.post[0-9]+)?(\.dev[0-9]+)?", asked)
    assert len(asked) < 150


def test_what_is_built_with_numpy_1_is_installed_with_it() -> None:
    assert parse("tflite_runtime==2.14", "x").to_install == ("tflite-runtime==2.14", "numpy<2")
    assert parse("ai_edge_litert==1.0.1", "x").to_install == ("ai-edge-litert==1.0.1", "numpy<2")
    assert parse("ai_edge_litert==1.1.0", "x").to_install == ("ai-edge-litert==1.1",)
    assert parse("tensorflow==2.15", "x").to_install == ("tensorflow==2.15",)


def test_one_that_is_stated_twice_is_refused_however_it_is_spelled() -> None:
    with pytest.raises(ConfigError, match=re.escape("validation.runtimes[1]: tflite-runtime==2.14.0 is stated already")):
        parse_all(("tflite_runtime==2.14", "tflite-runtime==2.14.0"))


def test_the_versions_of_tensorflow_and_of_its_interpreter_alone_tell_which_operators_they_know() -> None:
    assert parse("tflite_runtime==2.14", "x").of_tensorflow == (2, 14)
    assert parse("tensorflow==2.20.0rc0", "x").of_tensorflow == (2, 20, 0)
    assert parse("ai_edge_litert==1.0.1", "x").of_tensorflow is None
