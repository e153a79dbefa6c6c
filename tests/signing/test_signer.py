"""Who signs is looked at before anything is built, and what they sign model-signing itself takes for genuine."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.bundle.resigning import is_as_asked
from mlkit_build.errors import ConfigError, StageError
from mlkit_build.recipe import Sign
from mlkit_build.signing import Trusted, library, open_signer
from mlkit_build.store import Digest
from mlkit_build.verification.envelope import read_envelope
from tests.signing import made

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # isort: skip
from model_signing import signing, verifying  # isort: skip

FILES = {"toy.tflite": b"a model", "manifest.json": b"{}", "aar/toy.aar": b"an archive"}
DIGESTS = {name: Digest.of_bytes(data) for name, data in FILES.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle that is complete but for signature and checksums."""
    place = tmp_path / "bundle"
    for name, data in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: str(curve.name))
def test_a_signature_by_a_key_covers_every_file_and_model_signing_takes_it(folder: Path, tmp_path: Path, curve: Any) -> None:
    private, public = made.key_pair(tmp_path, curve=curve)
    signer = open_signer(Sign(key=str(private)))
    signer.sign(folder, "toy-float32")
    data = (folder / "model.sig").read_bytes()
    envelope = read_envelope(data)
    assert envelope.files == {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    assert (envelope.method, envelope.signers) == ("key", (hashlib.sha256(public.read_bytes()).hexdigest(),))
    assert is_as_asked(signer, data, DIGESTS)
    verifying.Config().use_elliptic_key_verifier(public_key=public).verify(folder, folder / "model.sig")
    (folder / "toy.tflite").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"Hash mismatch for 'toy\.tflite'"):
        verifying.Config().use_elliptic_key_verifier(public_key=public).verify(folder, folder / "model.sig")


def test_a_signature_with_a_certificate_is_taken_by_who_trusts_the_root(folder: Path, tmp_path: Path) -> None:
    files = {name: str(file) for name, file in made.certified(tmp_path).items()}
    signer = open_signer(Sign(key=files["key"], certificate=files["chain"]))
    signer.sign(folder, "toy-float32")
    data = (folder / "model.sig").read_bytes()
    envelope = read_envelope(data)
    assert (envelope.method, len(set(envelope.signers))) == ("certificate", 2)
    assert is_as_asked(signer, data, DIGESTS)
    assert not is_as_asked(open_signer(Sign(key=files["key"])), data, DIGESTS), "the same key by itself is another method"
    verifying.Config().use_certificate_verifier(certificate_chain=[files["root"]]).verify(folder, folder / "model.sig")


def test_a_signature_stays_while_key_and_files_are_the_same(folder: Path, tmp_path: Path) -> None:
    signer, other = (open_signer(Sign(key=str(made.key_pair(tmp_path, name)[0]))) for name in ("one", "other"))
    signer.sign(folder, "toy-float32")
    data = (folder / "model.sig").read_bytes()
    assert is_as_asked(signer, data, DIGESTS)
    assert is_as_asked(None, data, DIGESTS), "where nobody is asked to sign, who signed still answers for these files"
    assert not is_as_asked(other, data, DIGESTS)
    for signed in (signer, None):
        assert not is_as_asked(signed, data, {**DIGESTS, "toy.tflite": Digest.of_bytes(b"another")})
        assert not is_as_asked(signed, data, {**DIGESTS, "more": Digest.of_bytes(b"")})
        assert not is_as_asked(signed, data, {"toy.tflite": DIGESTS["toy.tflite"]})
        assert not is_as_asked(signed, data[:-1], DIGESTS)
    assert is_as_asked(None, None, DIGESTS)
    assert not is_as_asked(signer, None, DIGESTS)


def test_a_password_comes_from_a_file_or_the_environment(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = made.key_pair(tmp_path, password="gehäim\n ".encode())
    stated = Sign(key=str(private))
    with pytest.raises(ConfigError, match="it is encrypted, and no password was given"):
        open_signer(stated)
    monkeypatch.setenv("MLKIT_BUILD_KEY_PASSWORD", "wrong")
    with pytest.raises(ConfigError, match="the password is not that of the key") as caught:
        open_signer(stated)
    assert "the variable MLKIT_BUILD_KEY_PASSWORD" in caught.value.hint
    monkeypatch.setenv("MLKIT_BUILD_KEY_PASSWORD", "gehäim\n ")
    by_variable = open_signer(stated)
    monkeypatch.delenv("MLKIT_BUILD_KEY_PASSWORD")
    (tmp_path / "password").write_bytes("gehäim\n \n".encode())
    signer = open_signer(replace(stated, password_file=str(tmp_path / "password")))
    assert by_variable == signer
    assert "geh" not in repr(signer)
    signer.sign(folder, "toy")
    verifying.Config().use_elliptic_key_verifier(public_key=public).verify(folder, folder / "model.sig")


def test_an_empty_password_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, _ = made.key_pair(tmp_path, password=b"word")
    stated = Sign(key=str(private))
    monkeypatch.setenv("MLKIT_BUILD_KEY_PASSWORD", "")
    with pytest.raises(ConfigError, match="no password was given: MLKIT_BUILD_KEY_PASSWORD is empty") as caught:
        open_signer(stated)
    assert "package.sign.password_file=" in caught.value.hint
    for content in (b"", b"\n", b"\r\n"):
        (tmp_path / "password").write_bytes(content)
        with pytest.raises(
            ConfigError, match=r"package\.sign\.password_file: .*: expected the password of .*, found an empty line"
        ):
            open_signer(replace(stated, password_file=str(tmp_path / "password")))


def test_a_pipe_in_place_of_a_key_a_password_or_a_certificate_is_refused_at_once(tmp_path: Path) -> None:
    private, _ = made.key_pair(tmp_path, password=b"word")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    plain, _ = made.key_pair(tmp_path, "plain")
    for stated in (
        Sign(key=str(pipe)),
        Sign(key=str(private), password_file=str(pipe)),
        Sign(key=str(plain), certificate=str(pipe)),
    ):
        with pytest.raises(ConfigError, match="pipe: cannot be read: it is a pipe or a device"):
            open_signer(stated)
    with pytest.raises(ConfigError, match=r"--key: .*pipe: cannot be read: it is a pipe or a device"):
        Trusted.by_key(str(pipe))


def test_a_full_disk_is_for_who_publishes_the_folder_to_explain(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, _ = made.key_pair(tmp_path)
    signer = open_signer(Sign(key=str(private)))

    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device"):
        signer.sign(folder, "toy")


def test_a_key_that_cannot_sign_is_refused(tmp_path: Path) -> None:
    private, public = made.key_pair(tmp_path)
    keys = {
        "rsa": (rsa.generate_private_key(65537, 2048), "found one of the kind RSA"),
        "ed25519": (ed25519.Ed25519PrivateKey.generate(), "found one of the kind Ed25519"),
        "curve": (ec.generate_private_key(ec.SECP256K1()), "found one on secp256k1"),
    }
    cases = [
        (public, "found something else"),
        (tmp_path / "none", "cannot be read: No such file"),
        (tmp_path, "cannot be read: "),
    ]
    for name, (key, found) in keys.items():
        (tmp_path / name).write_bytes(made.private_pem(key))
        cases.append((tmp_path / name, found))
    (tmp_path / "cut").write_bytes(private.read_bytes()[:-40])
    cases.append((tmp_path / "cut", "found something else"))
    for path, found in cases:
        with pytest.raises(ConfigError) as caught:
            open_signer(Sign(key=str(path)))
        assert caught.value.message.startswith(f"package.sign.key: {path}: ")
        assert found in caught.value.message


def test_a_certificate_that_nobody_could_check_is_refused(tmp_path: Path) -> None:
    files = {name: str(file) for name, file in made.certified(tmp_path).items()}
    stated = Sign(key=files["key"], certificate=files["certificate"])
    (tmp_path / "other").mkdir()
    others = made.certified(tmp_path / "other", signs=False)
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(made.private_pem(made_key(files["key"]), b"x"))
    (tmp_path / "password").write_bytes(b"x")
    for changed, found in (
        ({"certificate": files["middle"]}, "it is the certificate of another key"),
        ({"certificate": files["key"]}, "expected certificates in PEM"),
        ({"key": str(others["key"]), "certificate": str(others["certificate"])}, "for digital signatures or code signing"),
        ({"key": str(encrypted), "password_file": str(tmp_path / "password")}, "expected a key without a password"),
    ):
        with pytest.raises(ConfigError) as caught:
            open_signer(replace(stated, **changed))
        assert found in caught.value.message
    assert open_signer(stated).method == "certificate"


def made_key(path: str) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return load_pem_private_key(Path(path).read_bytes(), None)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "_NEEDED", ("model_signing", "a_module_that_is_not_there"))
    with pytest.raises(ConfigError) as caught:
        open_signer(Sign(key=str(made.key_pair(tmp_path)[0])))
    assert caught.value.hint == 'pip install "mlkit-build[sign]"'


def test_a_key_that_changes_during_the_build_publishes_nothing(folder: Path, tmp_path: Path) -> None:
    private, _ = made.key_pair(tmp_path)
    signer = open_signer(Sign(key=str(private)))
    made.key_pair(tmp_path)
    with pytest.raises(StageError, match="by another key"):
        signer.sign(folder, "toy")
    private.unlink()
    with pytest.raises(StageError, match="could not be signed"):
        signer.sign(folder, "toy")


def test_sigstore_signs_with_the_token_and_never_asks_in_a_browser(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sigstore itself is far away: a certificate takes the place of the one that it would have made."""
    file = tmp_path / "token"
    file.write_text(f"{made.token()}\n")
    files = made.certified(tmp_path)
    asked: list[dict[str, Any]] = []

    class Standing:
        def __init__(self, config: Any, **options: Any) -> None:
            asked.append(options)
            self._config = config.use_certificate_signer(
                private_key=files["key"], signing_certificate=files["certificate"], certificate_chain=[files["middle"]]
            )

        def sign(self, model: Path, signature: Path) -> None:
            self._config.sign(model, signature)
            document = json.loads(signature.read_bytes())
            material = document["verificationMaterial"]
            material["certificate"] = material.pop("x509CertificateChain")["certificates"][0]
            signature.write_text(json.dumps(document))

    signer = open_signer(Sign(sigstore=True, identity_token=str(file)))
    monkeypatch.setattr(signing.Config, "use_sigstore_signer", lambda config, **options: Standing(config, **options))
    signer.sign(folder, "toy")
    assert asked == [{"identity_token": file.read_text().strip(), "use_ambient_credentials": False}]
    envelope = read_envelope((folder / "model.sig").read_bytes())
    assert envelope.method == "sigstore"
    assert is_as_asked(signer, (folder / "model.sig").read_bytes(), DIGESTS), "every signature has another certificate"
    assert file.read_text().strip() not in repr(signer)


def test_sigstore_out_of_reach_is_one_plain_message(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(config: Any, **_: Any) -> Any:
        try:
            raise OSError("Failed to resolve 'sigstore.example.org'")
        except OSError as error:
            raise RuntimeError("Failed to refresh TUF metadata\nand more") from error

    monkeypatch.setattr(signing.Config, "use_sigstore_signer", unreachable)
    (tmp_path / "token").write_text(made.token())
    signer = open_signer(Sign(sigstore=True, identity_token=str(tmp_path / "token")))
    with pytest.raises(StageError) as caught:
        signer.sign(folder, "toy")
    assert caught.value.message == (
        "package.sign: Sigstore did not sign it, so nothing was published: "
        "Failed to refresh TUF metadata: Failed to resolve 'sigstore.example.org'"
    )
    assert not (folder / "model.sig").exists()


def test_a_token_that_sigstore_would_not_take_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for text in ("", "no token", made.token(seconds=-60), "é.é.é"):
        (tmp_path / "token").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=r"^package\.sign\.identity_token: "):
            open_signer(Sign(sigstore=True, identity_token=str(tmp_path / "token")))
    with pytest.raises(ConfigError, match="cannot be read"):
        open_signer(Sign(sigstore=True, identity_token=str(tmp_path / "none")))
    monkeypatch.setattr("sigstore.oidc.detect_credential", lambda _: None)
    with pytest.raises(ConfigError, match="none given, and this is no CI system that has one"):
        open_signer(Sign(sigstore=True))
    monkeypatch.setattr("sigstore.oidc.detect_credential", lambda audience: made.token() if audience == "sigstore" else None)
    assert open_signer(Sign(sigstore=True)).method == "sigstore"


def test_paths_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    private, _ = made.key_pair(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(shutil.copytree(tmp_path, tmp_path.with_name("elsewhere")))
    open_signer(Sign(key=f"~/{private.name}")).sign(folder, "toy")
