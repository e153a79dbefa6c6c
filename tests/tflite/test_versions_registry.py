"""The table of runtimes against what interpreters know: a model of one operator code loads only where that is known."""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path

import pytest

from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.model import schema
from mlkit_build.tflite.versions.runtimes import FIRST_OF_TYPES, FIRST_RUNTIMES, first_runtime, release

OLD = (2, 14, 0)
RUN = """
import pickle, sys
from importlib import import_module

interpreter = import_module(sys.argv[2]).Interpreter
answers = {}
for key, model in pickle.load(open(sys.argv[1], "rb")).items():
    try:
        interpreter(model_content=model)
        answers[key] = ""
    except (RuntimeError, ValueError) as error:
        answers[key] = str(error)
pickle.dump(answers, open(sys.argv[1], "wb"))
"""


def only(operator: str, version: int, type_: str = "FLOAT32") -> bytes:
    """Return a model with one operator code, no operator, and one tensor, which is its input and its output."""
    code = schema().OperatorCodeT()
    code.builtinCode = getattr(schema().BuiltinOperator, operator)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = version
    tensor = schema().TensorT()
    tensor.name, tensor.shape, tensor.type = "x", [2], getattr(schema().TensorType, type_)
    graph = schema().SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
    model = schema().ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema().BufferT()]
    return flatbuffer.packed(model)


def builtins() -> list[str]:
    names = [name for name in vars(schema().BuiltinOperator) if not name.startswith("_")]
    return [name for name in names if name not in ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES")]


def asked() -> dict[tuple[str, int], bytes]:
    """Every operator of the schema in every version of the table, and in the one after."""
    return {
        (name, version): only(name, version) for name in builtins() for version in range(1, len(FIRST_RUNTIMES.get(name, ())) + 2)
    }


@pytest.fixture(scope="module")
def old_runtime() -> str:
    python = os.environ.get("MLKIT_BUILD_OLD_RUNTIME")
    if not python:
        pytest.skip(
            "no old runtime: set MLKIT_BUILD_OLD_RUNTIME to the python of an environment with tflite-runtime==2.14 numpy<2"
        )
    return python


def answers(python: str, models: dict[tuple[str, int], bytes], folder: Path) -> dict[tuple[str, int], str]:
    file = folder / "asked.pickle"
    file.write_bytes(pickle.dumps(models))
    command = [python, "-c", RUN, str(file), "tflite_runtime.interpreter"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(pickle.loads(file.read_bytes()))


def test_the_old_runtime_knows_exactly_the_versions_that_the_table_gives_it(old_runtime: str, tmp_path: Path) -> None:
    found = answers(old_runtime, asked(), tmp_path)
    knows = {key for key, said in found.items() if not said}
    first = {key: first_runtime(*key) for key in found}
    assert knows == {key for key, runtime in first.items() if runtime is not None and release(runtime) <= OLD}
    assert len(knows) > 300  # of some 160 operators
    # What `OperatorRequirement.says` quotes. Operators that came later have a number beyond its last.
    said = {text.partition(".")[0] for (_, _), text in found.items() if text}
    assert "Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'" in said
    assert all(text.startswith(("Didn't find op for builtin opcode '", "Op builtin_code out of range: ")) for text in said)


def test_the_old_runtime_has_no_tensors_of_the_types_that_came_later(old_runtime: str, tmp_path: Path) -> None:
    names = [name for name in vars(schema().TensorType) if not name.startswith("_") and not name.startswith("FLOAT8")]
    found = answers(old_runtime, {(name, 1): only("ADD", 1, name) for name in names}, tmp_path)
    refused = {name.lower() for (name, _), said in found.items() if "Unsupported data type" in said}
    assert refused == {name for name, runtime in FIRST_OF_TYPES.items() if release(runtime) > OLD}


def test_the_newest_runtime_knows_every_version_of_the_table() -> None:
    from ai_edge_litert.interpreter import Interpreter

    unknown = set()
    for name, runtimes in FIRST_RUNTIMES.items():
        for version, runtime in enumerate(runtimes, 1):
            try:
                Interpreter(model_content=only(name, version))
            except ValueError:
                unknown.add((name, version, runtime))
    assert unknown == {("BROADCAST_TO", 1, "-"), ("STABLEHLO_CBRT", 1, "-")}


def test_every_operator_of_the_schema_that_the_newest_runtime_has_is_in_the_table() -> None:
    from ai_edge_litert.interpreter import Interpreter

    for name in set(builtins()) - set(FIRST_RUNTIMES):
        with pytest.raises(ValueError, match=r"Didn't find op|out of range"):
            Interpreter(model_content=only(name, 1))
