"""`mlkit-build verify`: exit codes, what is printed, and that nothing is imported that could run a model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.promises.conftest import Command


@pytest.fixture
def bundle(command: Command) -> Path:
    code, _, err = command("recipe=add_one")
    assert code == 0, err
    return Path("dist/add_one/float32")


def test_a_bundle_is_verified_until_a_byte_of_it_changes(command: Command, bundle: Path) -> None:
    code, out, _ = command("verify", str(bundle))
    assert code == 0
    assert out.startswith(f"{bundle}: add_one 1.0.0, float32: verified, ")
    data = bytearray((bundle / "add_one.tflite").read_bytes())
    data[100] ^= 1
    (bundle / "add_one.tflite").write_bytes(data)
    code, out, _ = command("verify", str(bundle))
    assert code == 4
    assert "add_one.tflite  its sha256 is " in out
    code, out, _ = command("verify", str(bundle), "--json")
    assert code == 4
    told = json.loads(out)
    assert told["verified"] is False
    assert [item["file"] for item in told["wrong"]] == ["add_one.tflite"]


def test_several_bundles_answer_with_the_worst(command: Command, bundle: Path) -> None:
    spoiled = Path(shutil.copytree(bundle, "spoiled"))
    (spoiled / "report.html").unlink()
    code, out, _ = command("verify", str(bundle), str(spoiled))
    assert code == 4
    assert "float32: verified" in out
    assert "spoiled: not what it says it is" in out


def test_what_cannot_be_looked_at_keeps_no_other_from_being_verified(command: Command, bundle: Path) -> None:
    spoiled = Path(shutil.copytree(bundle, "spoiled"))
    code, out, err = command("verify", str(bundle), "nope", str(spoiled))
    assert code == 2
    assert [line.partition(":")[0] for line in out.splitlines() if "verified" in line] == [str(bundle), "spoiled"]
    assert "error: verify: nope: expected a bundle's folder" in err
    (spoiled / "report.html").unlink()
    code, out, err = command("verify", "nope", str(spoiled), str(bundle))
    assert code == 4
    assert "spoiled: not what it says it is" in out
    assert f"{bundle}: add_one 1.0.0, float32: verified" in out


@pytest.mark.parametrize("verb", ["verify", "diff", "rebuild"])
def test_a_path_that_cannot_be_looked_at_is_a_users_mistake(command: Command, verb: str) -> None:
    """As a folder that nobody but another user may enter, which is none for root."""
    code, _, err = command(verb, *(["x" * 300] * (2 if verb == "diff" else 1)))
    assert code == 2
    assert "cannot be read: File name too long" in err


@pytest.mark.parametrize("verb", ["verify", "diff", "rebuild"])
@pytest.mark.parametrize("kind", ["zip", "xztar"])
def test_a_damaged_archive_is_named_by_every_verb(command: Command, bundle: Path, verb: str, kind: str) -> None:
    path = Path(shutil.make_archive("packed", kind, bundle))
    data = bytearray(path.read_bytes())
    place = data.index(b"manifest.json") + 40 if kind == "zip" else len(data) // 2
    data[place : place + 2] = bytes(byte ^ 0xFF for byte in data[place : place + 2])
    path.write_bytes(data)
    code, out, err = command(verb, str(path), *([str(bundle)] if verb == "diff" else []))
    assert code == (4 if verb == "verify" else 2)
    assert "cannot be read" in out + err
    assert "Traceback" not in err


def test_what_is_no_bundle_is_a_users_mistake(command: Command) -> None:
    code, _, err = command("verify", "nothing-here")
    assert code == 2
    assert "nothing-here: expected a bundle's folder" in err
    assert "Traceback" not in err


def test_a_file_in_a_bundle_is_told_from_the_bundle(command: Command, bundle: Path) -> None:
    code, _, err = command("verify", str(bundle / "add_one.tflite"))
    assert code == 2
    assert f"hint: it lies in the bundle {bundle.absolute()}: verify that" in err


def test_verifying_imports_nothing_that_runs_models(bundle: Path) -> None:
    probe = [sys.executable, "-X", "importtime", "-m", "mlkit_build.cli", "verify", str(bundle)]
    done = subprocess.run(probe, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "import time:" in line}
    assert "mlkit_build" in imported
    assert not imported & {"tensorflow", "ai_edge_litert", "hydra", "numpy"}


def test_a_url_is_printed_without_its_secrets(command: Command, bundle: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(bundle), "/bundles?token=SECRET", recursive=True)
    url = "memory://bundles?token=SECRET"
    try:
        for verb in (("verify", url), ("verify", url, "--json"), ("diff", url, str(bundle)), ("diff", url, url, "--json")):
            code, out, err = command(*verb)
            assert code == 0, err
            assert "SECRET" not in out + err
        assert command("verify", url)[1].startswith("memory://bundles?token=...: add_one 1.0.0")
    finally:
        memory.rm("/bundles?token=SECRET", recursive=True)
    for wrong in (url, "zip://a::https://user:SECRET@h/b.zip"):
        code, out, err = command("verify", wrong)
        assert code == 2
        assert "SECRET" not in out + err


def test_what_a_bundle_says_cannot_forge_a_line_of_the_answer(command: Command, bundle: Path) -> None:
    (bundle / "x\n\x1b[31mdist: add_one 1.0.0: verified").write_bytes(b"")
    code, out, _ = command("verify", str(bundle))
    assert code == 4
    assert all(line.isprintable() for line in out.splitlines())
    assert len(out.splitlines()) == 2
    assert r"x\n\x1b[31mdist: add_one 1.0.0: verified" in out


def test_json_is_json_wherever_it_is_printed_to(bundle: Path) -> None:
    copied = shutil.copytree(bundle, "é\u202e")
    script = "import sys; from mlkit_build.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    arguments = [sys.executable, "-c", script, "verify", "--json", copied]
    out = subprocess.run(arguments, capture_output=True, check=True, env=environment).stdout
    assert json.loads(out)["bundle"] == copied
