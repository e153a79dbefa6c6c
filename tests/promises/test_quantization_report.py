"""`quantization-report` says where accuracy went: what is to blame comes first, and its rule, pasted, recovers it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from mlkit_build.plain import from_plain
from mlkit_build.quantization.attribution import LEAST_GAIN_DB, NEGLIGIBLE_DB, Attribution
from mlkit_build.recipe import MODES
from tests.conftest import Workspace
from tests.promises.conftest import Command, snapshot

_FUNCTION = """
import numpy as np
import tensorflow as tf


def build():
    arrays = np.load("weights.npz")

    @tf.function(input_signature=[tf.TensorSpec([1, 32], tf.float32, name="x")])
    def net(x):
        for name in sorted(arrays):
            with tf.name_scope(name):
                x = tf.nn.relu(tf.matmul(x, arrays[name]), name="relu")
        return {"y": x}

    return net
"""
"""Dense layers, one after another, each in the scope of its name."""

SIZE = 32


def layers() -> dict[str, NDArray[np.float32]]:
    """Return the weights of four layers that keep activations near 1."""
    random = np.random.default_rng(3)
    return {name: random.normal(0, (2 / SIZE) ** 0.5, (SIZE, SIZE)).astype(np.float32) for name in ("a", "b", "c", "d")}


def outlier_weight(weights: dict[str, NDArray[np.float32]]) -> None:
    """Give the layer `c` a weight that one scale for all its weights cannot hold beside the others: what it reads is always 0."""
    weights["b"][:, 5] = -np.abs(weights["b"][:, 5])
    weights["c"][5, 7] = 60.0


def outlier_channel(weights: dict[str, NDArray[np.float32]]) -> None:
    """Let the layer `b` make one channel 300 times as wide as the others, and `c` read it as little as them."""
    weights["b"][:, 5] = np.abs(weights["b"][:, 5]) * 300
    weights["c"][5] /= 3000


def write(workspace: Workspace, weights: dict[str, NDArray[np.float32]], **more: Any) -> Path:
    """Write the recipe `net`."""
    folder = workspace.write(
        "net",
        {
            "source": {"kind": "python", "function": "model.py:build", "files": ["weights.npz"]},
            "dataset": {"kind": "npz", "path": "test.npz", "features": {"x": "x"}},
            "calibration": {"kind": "npz", "path": "seen.npz", "features": {"x": "x"}},
            **more,
        },
    )
    (folder / "model.py").write_text(_FUNCTION)
    np.savez(folder / "weights.npz", **weights)
    for seed, name in enumerate(("test", "seen")):
        np.savez(folder / f"{name}.npz", x=np.random.default_rng(seed).random((40, SIZE), np.float32))
    return folder


def reported(command: Command, *arguments: str) -> Attribution:
    """Return what the verb says, as data."""
    code, out, err = command("quantization-report", *arguments, "ui=quiet", "--format=json")
    assert code == 0, err
    found = json.loads(out)
    assert (found.pop("recipe"), bool(found.pop("variant"))) == (arguments[0].removeprefix("recipe="), True)
    return from_plain(Attribution, found)


def test_an_outlier_among_the_weights_is_ranked_first_and_leaving_its_layer_float_recovers_most(
    workspace: Workspace, command: Command
) -> None:
    weights = layers()
    outlier_weight(weights)
    write(workspace, weights)
    found = reported(command, "recipe=net", "quantization=dynamic_range", "quantization.granularity=per_tensor")
    first, second = found.operators[:2]
    assert (first.operator, first.scope) == ("FULLY_CONNECTED", "c")
    assert first.own_share > 0.9
    assert first.left_float is not None
    assert first.left_float.gain_db > 15
    assert second.left_float is not None
    assert second.left_float.gain_db < 1
    assert [rule.operator for rule in found.best[0].rules] == ["FULLY_CONNECTED"]


def test_a_channel_that_is_far_wider_than_the_others_is_blamed_on_its_maker_and_needs_the_reader_float_too(
    workspace: Workspace, command: Command
) -> None:
    weights = layers()
    outlier_channel(weights)
    write(workspace, weights)
    found = reported(command, "recipe=net", "quantization=int8", "--tries=1")
    first = found.operators[0]
    assert first.scope == "b"
    assert first.left_float is not None
    assert first.left_float.gain_db > 10
    assert {rule.tensor[:2] for rule in first.left_float.rules if rule.tensor} == {"^b", "^c"}


def test_the_rules_that_are_printed_are_a_recipe_that_has_the_promised_outputs(workspace: Workspace, command: Command) -> None:
    weights = layers()
    outlier_weight(weights)
    folder = write(workspace, weights)
    stated = ("recipe=net", "quantization=dynamic_range", "quantization.granularity=per_tensor")
    before = reported(command, *stated)
    code, out, _ = command("quantization-report", *stated, "ui=quiet")
    assert code == 0
    pasted = yaml.safe_load(out.partition("recipe.yaml:\n")[2])
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe, **pasted}))
    after = reported(command, *stated)
    promised = before.best[-1]
    assert after.sqnr_db == promised.sqnr_db
    assert after.size_bytes == before.size_bytes + promised.size_bytes
    assert after.rules[: len(before.rules)] == before.rules
    assert workspace.build(*stated).exit_code == 0


def test_without_a_culprit_there_is_no_advice_to_follow(workspace: Workspace, command: Command) -> None:
    write(workspace, layers())
    found = reported(command, "recipe=net", "quantization=int8")
    best = max(row.left_float.gain_db for row in found.operators if row.left_float)
    assert found.best == () or best >= LEAST_GAIN_DB
    for trial in found.best:
        assert 2 * len(trial.rules) <= len(found.operators)


VARIANTS = [
    *(mode for mode in MODES if mode != "float32"),
    "int8 quantization.io=uint8",
    "int8 quantization.backend=converter",
    "float16 quantization.backend=converter",
]


@pytest.mark.parametrize("mode", VARIANTS)
def test_every_mode_is_looked_into(warm_workspace: Workspace, command: Command, mode: str) -> None:
    found = reported(command, "recipe=mnist", f"quantization={mode.split()[0]}", *mode.split()[1:], "--tries=1")
    names = [row.operator for row in found.operators if row.operator != "QUANTIZE"]
    assert sorted(names) == ["CONV_2D", "CONV_2D", "FULLY_CONNECTED", "FULLY_CONNECTED", "RESHAPE", "SOFTMAX"]
    assert found.unmatched == ()
    assert found.samples == 32
    assert found.sqnr_db is not None
    assert found.sqnr_db > 20
    assert found.tried == (0 if "converter" in mode else 1)
    assert all(row.own is not None for row in found.operators)
    assert {row.scope for row in found.operators} >= {"conv1", "conv2"}
    reshape = next(row for row in found.operators if row.operator == "RESHAPE")
    assert reshape.own is not None
    assert reshape.own.sqnr_db is None, "an operator that only moves values loses nothing itself"
    assert sum(row.own_share for row in found.operators) == pytest.approx(1, abs=0.01)
    integers = mode.startswith("int")
    assert all((row.quantized is not None) == integers for row in found.operators)


def test_errors_that_the_report_states_are_those_of_the_shipped_model(warm_workspace: Workspace, command: Command) -> None:
    asked = ("recipe=mnist", "quantization=int8", "dataset.samples=1000", "validation.gates={}")
    found = reported(command, *asked, "--samples=1000000", "--tries=0")
    report = warm_workspace.build(*asked)
    assert report.metrics is not None
    assert report.size_bytes is not None
    assert found.size_bytes < report.size_bytes  # which has its metadata too
    assert found.outputs[0].error.max_abs_error == pytest.approx(report.metrics["max_abs_error"].value, rel=1e-3)
    assert found.top1_agreement == pytest.approx(report.metrics["top1_agreement"].value, abs=1e-4)


def test_a_second_report_runs_nothing_and_another_option_runs_that_alone(warm_workspace: Workspace, command: Command) -> None:
    arguments = ("quantization-report", "recipe=mnist", "quantization=int8", "ui=plain", "--tries=1")
    _, out, err = command(*arguments)
    assert "attribute  running" in err
    before = snapshot(warm_workspace.cache / "v1" / "cas")
    code, again, err = command(*arguments)
    assert (code, again) == (0, out)
    assert "running" not in err
    assert snapshot(warm_workspace.cache / "v1" / "cas") == before
    _, _, err = command(*arguments, "--samples=3")
    assert [line.split()[0] for line in err.splitlines() if "running" in line] == ["attribute"]


def test_a_hit_imports_no_tensorflow_and_no_litert(warm_workspace: Workspace, command: Command) -> None:
    assert command("quantization-report", "recipe=mnist", "quantization=int8", "ui=quiet", "--tries=1")[0] == 0
    code = (
        "import sys; from mlkit_build.cli import run; "
        "code = run(['quantization-report', 'recipe=mnist', 'quantization=int8', 'ui=quiet', '--tries=1']); "
        "print(code, [name for name in ('tensorflow', 'ai_edge_litert', 'ai_edge_quantizer', 'jinja2') if name in sys.modules])"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_the_page_holds_every_operator_and_nothing_from_elsewhere(warm_workspace: Workspace, command: Command) -> None:
    code, out, err = command("quantization-report", "recipe=mnist", "quantization=int8", "ui=quiet", "--html", "page.html")
    assert code == 0, err
    page = Path("page.html").read_text(encoding="utf-8")
    parser = _Page()
    parser.feed(page)
    assert parser.links == []
    for name in ("conv1/relu", "conv2/relu", "dense2/product", "flatten", "scores_output"):
        assert name in page
    assert out.partition("recipe.yaml:\n")[2].strip().replace("'", "&#39;") in page
    assert [path.name for path in Path().iterdir() if "page" in path.name] == ["page.html"]


class _Page(HTMLParser):
    """Collects what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_without_a_dataset_the_calibration_samples_are_taken(workspace: Workspace, command: Command) -> None:
    write(workspace, layers())
    found = reported(command, "recipe=net", "quantization=dynamic_range", "dataset=null", "--samples=7")
    assert (found.samples_from, found.samples) == ("calibration", 7)


def test_where_no_error_matters_no_rule_is_printed(warm_workspace: Workspace, command: Command) -> None:
    arguments = ("recipe=mnist", "quantization=float16", "--tries=1")
    found = reported(command, *arguments)
    assert found.sqnr_db is not None
    assert found.sqnr_db > NEGLIGIBLE_DB
    assert found.operators[0].left_float is not None
    assert (found.best, found.rules) == ((), ())
    _, out, _ = command("quantization-report", *arguments, "ui=quiet")
    assert "no operator's error matters: the outputs are 70 dB or more above their noise" in out
    assert "rules:" not in out


def test_one_operator_that_was_tried_is_not_one_of_one(warm_workspace: Workspace, command: Command) -> None:
    _, out, _ = command("quantization-report", "recipe=mnist", "quantization=int8", "--samples=4", "--tries=1", "ui=quiet")
    assert "no operator stands out: what leaving the worst operator float recovers is less than" in out


def test_a_page_that_cannot_be_written_is_named_as_it_was_asked_for(warm_workspace: Workspace, command: Command) -> None:
    name = "a" * 250
    code, _, err = command("quantization-report", "recipe=mnist", "quantization=int8", "--tries=0", f"--html={name}", "ui=quiet")
    assert code == 1
    assert f"error: --html: {name} cannot be written: File name too long" in err


REFUSED = [
    (("quantization=float32",), "quantization: float32 quantizes nothing"),
    (("quantization=float16", "dataset=null", "calibration=null"), "neither dataset nor calibration"),
    (("quantization=int8", "--samples=0"), "expected a whole number of at least 1, found '0'"),
    (("quantization=int8", "--samples=-1"), "expected a whole number of at least 1, found '-1'"),
    (("quantization=int8", "--tries=some"), "expected a whole number of at least 0, found 'some'"),
    (("quantization=int8", "--tries", "-3"), "expected a whole number of at least 0, found '-3'"),
    (("quantization=int8", "--html=recipes"), "--html: expected a file, found the folder recipes"),
    (("quantization=int8,float16", "jobs=1,2"), "takes one build, found quantization=int8,float16 jobs=1,2"),
    (("-m", "quantization=int8"), "quantization-report: takes one build, found -m"),
    (("quantization=int8", "--html=nowhere/page.html"), "--html: expected a file in a folder that exists"),
    (("quantization=int9",), "int9"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_reported_is_refused(
    workspace: Workspace, command: Command, arguments: tuple[str, ...], message: str
) -> None:
    write(workspace, layers())
    code, out, err = command("quantization-report", "recipe=net", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
