"""Signed bundles: signed once, checked by whom they are for, and no hindrance to anything else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from mlkit_build.config.roots import builtin
from mlkit_build.errors import StageError
from mlkit_build.recipe import Sign
from mlkit_build.reproduction.conditions import as_is
from mlkit_build.signing import Signer
from tests.promises.conftest import Command, snapshot
from tests.signing import made

BUNDLE = "dist/add_one/float32"


@pytest.fixture
def keys(workspace: object) -> tuple[Path, Path]:
    """A private key and its public one, in the current folder."""
    return made.key_pair(Path())


def test_a_bundle_is_signed_once_and_checked_with_the_public_key(command: Command, keys: tuple[Path, Path]) -> None:
    build = ("recipe=add_one", "package.formats=[zip,aar]", "ui=json")
    sign = f"package.sign.key={keys[0]}"

    def built(*overrides: str) -> tuple[str, dict[str, tuple[str, int]]]:
        code, out, err = command(*build, *overrides)
        assert code == 0, err
        return json.loads(out)["status"], snapshot(Path(BUNDLE))

    _, unsigned = built()
    assert "model.sig" not in unsigned
    code, out, _ = command("verify", BUNDLE, "--key", str(keys[1]))
    assert (code, "nobody answers for these files" in out) == (4, True)

    status, signed = built(sign)
    assert status == "built"
    assert set(signed) == {*unsigned, "model.sig"}
    varying = {"model.sig", "provenance.json", "SHA256SUMS"}
    assert {name: signed[name][0] for name in signed if name not in varying} == {
        name: unsigned[name][0] for name in unsigned if name not in varying
    }
    code, out, _ = command("verify", BUNDLE)
    assert (code, "  signed with a key; give --key to check who signed it" in out) == (0, True)
    for place in (BUNDLE, f"{BUNDLE}/manifest.json", f"{BUNDLE}/add_one-float32.zip"):
        code, out, _ = command("verify", place, "--key", str(keys[1]))
        assert (code, f"  signed by the key {keys[1]}" in out) == (0, True), out
    told = json.loads(command("verify", BUNDLE, "--json")[1])
    assert (told["verified"], told["signed"], told["signed_by"]) == (True, "key", None)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=BUNDLE, check=True)
    assert str(keys[0]) not in (Path(BUNDLE) / "manifest.json").read_text()
    assert '"sign"' not in (Path(BUNDLE) / "manifest.json").read_text()

    assert built(sign) == ("unchanged", signed)
    assert built() == ("unchanged", signed), "who signed still answers for these files"

    other = made.key_pair(Path(), "other")
    status, signed = built(f"package.sign.key={other[0]}")
    assert status == "built"
    assert command("verify", BUNDLE, "--key", str(other[1]))[0] == 0
    code, out, _ = command("verify", BUNDLE, "--key", str(keys[1]))
    assert (code, "it is not a signature by the key owner.pub.pem: Key mismatch" in out) == (4, True)

    (Path(BUNDLE) / "model.sig").write_bytes((Path(BUNDLE) / "model.sig").read_bytes()[:-1])
    assert built(f"package.sign.key={other[0]}")[0] == "built"
    assert command("verify", BUNDLE, "--key", str(other[1]))[0] == 0


def test_a_bundle_that_cannot_be_signed_leaves_the_one_before(
    command: Command, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(self: Signer, folder: Path, name: str) -> None:
        (folder / "model.sig").write_bytes(b"half a signature")
        raise StageError("package.sign: Sigstore did not sign it")

    assert command("recipe=add_one")[0] == 0
    before = snapshot(Path("dist"))
    monkeypatch.setattr(Signer, "sign", half)
    code, _, err = command("recipe=add_one", f"package.sign.key={keys[0]}")
    assert (code, "Sigstore did not sign it" in err, "Traceback" in err) == (1, True, False)
    assert snapshot(Path("dist")) == before
    assert [path.name for path in Path("dist/add_one").iterdir()] == ["float32"]


def test_a_key_that_cannot_sign_is_told_before_anything_is_built(command: Command, workspace: object) -> None:
    Path("key.pem").write_text("no key")
    code, _, err = command("recipe=add_one", "package.sign.key=key.pem", "ui=plain")
    assert code == 2
    assert "package.sign.key: key.pem: expected a private key in PEM" in err
    assert "freeze" not in err
    assert "Traceback" not in err
    assert not Path("dist").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["key=a", "sigstore=true"], "package.sign: expected `key` or `sigstore`, found both"),
        (["certificate=a"], "package.sign.certificate: says nothing without `key`"),
        (["password_file=a"], "package.sign.password_file: says nothing without `key`"),
        (["identity_token=a"], "package.sign.identity_token: says nothing without `sigstore`"),
        (["key=''"], "package.sign.key: expected a file, found an empty text"),
    ],
)
def test_what_cannot_sign_together_is_refused(command: Command, overrides: list[str], message: str) -> None:
    code, _, err = command("recipe=add_one", *(f"package.sign.{override}" for override in overrides))
    assert code == 2
    assert message in err


def test_a_sweep_signs_each_bundle_and_the_best_one_has_the_signature_of_its_variant(
    command: Command, keys: tuple[Path, Path]
) -> None:
    sweep = ("-m", "recipe=add_one", "quantization=float32,float16", "select=smallest", f"package.sign.key={keys[0]}")
    places = [f"dist/add_one/{name}" for name in ("float32", "float16", "best")]
    code, _, err = command(*sweep)
    assert code == 0, err
    code, out, _ = command("verify", *places, "--key", str(keys[1]))
    assert (code, out.count("signed by the key")) == (0, 3)
    before = [snapshot(Path(place)) for place in places]
    assert command(*sweep)[0] == 0
    assert [snapshot(Path(place)) for place in places] == before
    code, _, err = command("-m", "recipe=add_one", "package.sign.key=a,b")
    assert (code, "changes nothing in what is built" in err) == (2, True)


def test_other_verbs_do_not_stumble_over_a_signature(command: Command, keys: tuple[Path, Path], tmp_path: Path) -> None:
    sign = f"package.sign.key={keys[0]}"
    assert command("recipe=add_one", "output_dir=unsigned")[0] == 0
    assert command("recipe=add_one", sign)[0] == 0
    code, out, _ = command("diff", "unsigned/add_one/float32", BUNDLE, "--json")
    assert (code, "model.sig" in out) == (0, False)
    code, out, err = command("rebuild", f"{BUNDLE}/manifest.json")
    assert code == 0, out + err
    shutil.copytree(builtin("recipes") / "add_one", "recipes/add_one")
    assert command("lock", "recipe=add_one", sign)[0] == 0
    for overrides in ([], [sign], [f"package.sign.key={made.key_pair(Path(), 'other')[0]}"]):
        code, _, err = command("recipe=add_one", "locked=true", *overrides)
        assert code == 0, err
    assert "package.sign" not in Path("recipes/add_one/recipe.lock").read_text()
    assert command("inspect", f"{BUNDLE}/add_one.tflite")[0] == 0
    assert command("plan", "recipe=add_one", sign)[0] == 0


def test_a_manifest_by_a_stranger_signs_nothing(command: Command, keys: tuple[Path, Path]) -> None:
    assert command("recipe=add_one")[0] == 0
    file = Path(BUNDLE) / "manifest.json"
    manifest = json.loads(file.read_bytes())
    manifest["recipe"]["package"]["sign"] = {"key": str(keys[0].absolute())}
    file.write_text(json.dumps(manifest))
    code, _, err = command("rebuild", str(file))
    assert code == 2
    assert "recipe.package.sign: expected none, found one" in err


def test_a_check_signs_nothing(tmp_path: Path) -> None:
    """It builds twice and throws it away; Sigstore would publish that somebody did."""
    stated = set(as_is(tmp_path).stated)
    assert {f"package.sign.{field.name}" for field in fields(Sign)} <= {override.partition("=")[0] for override in stated}
    assert {"package.sign.key=null", "package.sign.sigstore=false"} <= stated


def test_looking_at_a_signed_bundle_imports_no_cryptography(command: Command, keys: tuple[Path, Path]) -> None:
    assert command("recipe=add_one", f"package.sign.key={keys[0]}")[0] == 0
    for arguments in (["verify", BUNDLE], ["recipe=add_one", "ui=quiet"]):
        probe = [sys.executable, "-X", "importtime", "-m", "mlkit_build.cli", *arguments]
        done = subprocess.run(probe, capture_output=True, text=True, check=True)
        lines = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line]
        imported = {name.partition(".")[0] for name in lines}
        assert "mlkit_build" in imported
        assert "mlkit_build.verification.envelope" in lines
        assert not imported & {"model_signing", "cryptography", "sigstore", "OpenSSL"}


def test_every_field_is_on_the_page_about_signing() -> None:
    page = (Path(__file__).parents[2] / "docs" / "signing.md").read_text(encoding="utf-8")
    assert [field.name for field in fields(Sign) if f"\n| `{field.name}` | " not in page] == []


def test_signing_and_trusting_need_options_that_fit(command: Command, workspace: object) -> None:
    for arguments, message in (
        (["--key", "a", "--identity", "b", "--identity-provider", "c"], "expected one of --key, --certificate-chain, --identity"),
        (["--identity", "b"], "--identity and --identity-provider go together"),
        (["--signature", "a"], "--signature says nothing without whom to trust"),
        (["--key", "nothing-here"], "verify: --key: nothing-here: cannot be read"),
    ):
        code, _, err = command("verify", "somewhere", *arguments)
        assert (code, message in err, "Traceback" in err) == (2, True, False), err
