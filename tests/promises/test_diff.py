"""`mlkit-build diff`: exit codes, the three ways of telling, and that nothing is imported that could run a model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import Workspace
from tests.promises.conftest import Command


@pytest.fixture
def bundles(command: Command) -> tuple[str, str]:
    for mode in ("float32", "float16"):
        code, _, err = command("recipe=multiply", f"quantization={mode}")
        assert code == 0, err
    return "dist/multiply/float32", "dist/multiply/float16"


def test_two_variants_are_compared_as_text_and_as_json(command: Command, bundles: tuple[str, str]) -> None:
    code, out, err = command("diff", *bundles)
    assert (code, err) == (0, "")
    told = out.splitlines()
    assert told[0].startswith("A  dist/multiply/float32: multiply 1.0.0, float32, model of ")
    assert told[told.index("recipe: 1 difference") + 1] == "  quantization.mode: float32 -> float16"
    assert re.search(r"^  total: .* kB|B -> .* B \([+-].*%\)$", out, re.MULTILINE)
    assert "\nthe same: " in out
    code, out, _ = command("diff", *bundles, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["identical"] is False
    assert found["a"]["variant"] == "float32"
    (change,) = found["aspects"]["recipe"]["changes"]
    assert (change["what"], change["before"], change["after"]) == ("quantization.mode", "float32", "float16")
    sizes = {item["what"]: item for item in found["aspects"]["size"]["changes"]}
    assert sizes["total"]["before"] == Path(bundles[0], "multiply.tflite").stat().st_size
    assert sizes["total"]["after"] == Path(bundles[1], "multiply.tflite").stat().st_size


def test_exit_codes_tell_equal_from_other_only_where_that_is_asked_for(command: Command, bundles: tuple[str, str]) -> None:
    first, second = bundles
    assert command("diff", first, first) == (0, command("diff", first, first)[1], "")
    assert command("diff", first, first)[1].endswith("\nidentical\n")
    assert [command("diff", "--exit-code", first, other)[0] for other in (first, second)] == [0, 4]
    assert command("diff", "--exit-code", f"{first}/multiply.tflite", f"{second}/manifest.json")[0] == 4


def test_the_page_stands_alone_and_escapes_what_bundles_say(command: Command, bundles: tuple[str, str]) -> None:
    manifest = Path(bundles[1], "manifest.json")
    data = json.loads(manifest.read_bytes())
    data["recipe"]["description"] = "<script>alert(1)</script>"
    manifest.write_text(json.dumps(data))
    code, _, err = command("diff", *bundles, "--html", "diff.html")
    assert code == 0, err
    page = Path("diff.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    seen: list[tuple[str, dict[str, str | None]]] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append((tag, dict(attrs)))

    Tags().feed(page)
    assert {tag for tag, _ in seen} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "small", "p", "dl", "dt", "dd", "span", "div", "table",
        "tr", "th", "td",
    }  # fmt: skip
    assert not any(name in ("src", "href", "style") or name.startswith("on") for _, attributes in seen for name in attributes)
    assert "url(" not in page
    assert "@import" not in page
    assert not list(Path().glob(".diff.html*"))


@pytest.mark.parametrize("place", ["nothing-here", "notes.txt", "broken.tflite"])
def test_what_cannot_be_compared_is_a_users_mistake(command: Command, workspace: Workspace, place: str) -> None:
    Path("notes.txt").write_text("no model")
    Path("broken.tflite").write_bytes(b"\x08\x00\x00\x00TFL3")
    code, out, err = command("diff", place, place)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: diff: {place}: ")
    assert "Traceback" not in err


def test_a_page_that_cannot_be_written_is_told(command: Command, bundles: tuple[str, str]) -> None:
    code, _, err = command("diff", *bundles, "--html", "dist")
    assert code == 2
    assert "--html: expected a file, found the folder dist" in err


def test_comparing_imports_nothing_that_runs_or_composes(bundles: tuple[str, str]) -> None:
    probe = [sys.executable, "-X", "importtime", "-m", "mlkit_build.cli", "diff", *bundles]
    done = subprocess.run(probe, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "import time:" in line}
    assert "mlkit_build" in imported
    assert not imported & {"tensorflow", "ai_edge_litert", "hydra", "omegaconf", "numpy", "jinja2", "flatbuffers"}
