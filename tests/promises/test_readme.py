"""The promises of the README's first page, kept end to end on the real model."""

from __future__ import annotations

import json

from tests.conftest import Workspace


def test_mnist_builds_a_full_integer_model_that_keeps_its_accuracy(warm_workspace: Workspace) -> None:
    report = warm_workspace.build("recipe=mnist")
    assert report.exit_code == 0, report.error
    assert report.metrics is not None
    assert report.metrics["top1"].value >= 0.989
    manifest = json.loads((warm_workspace.folder / "dist/mnist/int8/manifest.json").read_bytes())
    assert manifest["quantization"]["float_operators"] == 0


def test_a_second_build_runs_nothing(warm_workspace: Workspace) -> None:
    warm_workspace.build("recipe=mnist")
    report = warm_workspace.build("recipe=mnist")
    assert report.status == "unchanged"
    assert warm_workspace.ran(report) == set()
