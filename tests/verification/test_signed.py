"""A signed bundle is verified by whom the user trusts, and strictly by everybody else."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.recipe import Sign
from mlkit_build.signing import Trusted, open_signer
from mlkit_build.verification import Detached, Verified, verify
from mlkit_build.verification.places import open_place
from tests.signing import made
from tests.verification.conftest import sealed


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private key and its public one."""
    return made.key_pair(tmp_path)


@pytest.fixture
def signed(bundle: Path, keys: tuple[Path, Path]) -> Path:
    """A bundle, signed with the key."""
    return sign(bundle, Sign(key=str(keys[0])))


def sign(bundle: Path, stated: Sign) -> Path:
    open_signer(stated).sign(bundle, "multiply-float32")
    sealed(bundle)
    return bundle


def checked(place: Path, trusted: Trusted | None = None, detached: Path | None = None) -> Verified:
    with open_place(str(place)) as opened:
        return verify(opened, trusted, Detached(str(detached), detached.read_bytes()) if detached else None)


def wrong(place: Path, trusted: Trusted | None = None, detached: Path | None = None) -> dict[str, str]:
    return {item.file: item.found for item in checked(place, trusted, detached).wrong}


def test_who_has_the_public_key_knows_who_signed(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    unasked = checked(signed)
    assert (unasked.wrong, unasked.signed and unasked.signed.method) == ((), "key")
    assert wrong(signed, Trusted.by_key(str(keys[1]))) == {}
    _, other = made.key_pair(tmp_path, "other")
    found = wrong(signed, Trusted.by_key(str(other)))
    assert list(found) == ["model.sig"]
    assert f"it is not a signature by the key {other}: Key mismatch" in found["model.sig"]


def test_a_byte_of_any_file_is_noticed_with_and_without_a_key(signed: Path, keys: tuple[Path, Path]) -> None:
    trusted = Trusted.by_key(str(keys[1]))
    files = [path for path in signed.rglob("*") if path.is_file()]
    assert {"model.sig", "provenance.json", "SHA256SUMS", "multiply.tflite"} <= {path.name for path in files}
    for path in files:
        before = path.read_bytes()
        path.write_bytes(bytes([*before[:40], before[40] ^ 1, *before[41:]]))
        name = path.relative_to(signed).as_posix()
        for who in (None, trusted):
            assert wrong(signed, who), name
        if name not in ("SHA256SUMS", "model.sig"):
            assert name in wrong(signed), name
        path.write_bytes(before)
    assert wrong(signed, trusted) == {}


def test_who_edits_a_signed_bundle_and_seals_it_again_is_caught_by_the_signature(signed: Path, keys: tuple[Path, Path]) -> None:
    """All else agrees: without a key it is the signature that contradicts, and nobody could make one that does not."""
    provenance = json.loads((signed / "provenance.json").read_bytes())
    provenance["predicate"]["runDetails"]["builder"]["id"] = "urn:mlkit-build:host:elsewhere"
    (signed / "provenance.json").write_text(json.dumps(provenance))
    sealed(signed)
    for trusted in (None, Trusted.by_key(str(keys[1]))):
        found = wrong(signed, trusted)
        assert set(found) == {"model.sig"}
        assert found["model.sig"].startswith("says that the sha256 of provenance.json is ")


def test_a_signature_that_was_edited_is_refused_by_the_key_alone(signed: Path, keys: tuple[Path, Path]) -> None:
    """`sig` is the one field that nobody can check without the key: here SHA256SUMS was made anew."""
    document = json.loads((signed / "model.sig").read_bytes())
    text = document["dsseEnvelope"]["signatures"][0]["sig"]
    document["dsseEnvelope"]["signatures"][0]["sig"] = text[:20] + ("A" if text[20] != "A" else "B") + text[21:]
    (signed / "model.sig").write_text(json.dumps(document))
    sealed(signed)
    assert wrong(signed) == {}
    found = wrong(signed, Trusted.by_key(str(keys[1])))
    assert list(found) == ["model.sig"]
    assert found["model.sig"].startswith("it is not a signature by the key ")


def test_a_signature_over_other_files_is_blamed(signed: Path, published: Path, tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """Of another bundle by the same owner, say."""
    other = Path(shutil.copytree(published, tmp_path / "other"))
    (other / "report.html").unlink()
    (other / "multiply.tflite").write_bytes(b"another model")
    open_signer(Sign(key=str(keys[0]))).sign(other, "other")
    shutil.copyfile(other / "model.sig", signed / "model.sig")
    sealed(signed)
    for trusted in (None, Trusted.by_key(str(keys[1]))):
        assert list(wrong(signed, trusted)) == ["model.sig"]


def test_garbage_in_its_place_is_blamed(bundle: Path, keys: tuple[Path, Path]) -> None:
    (bundle / "model.sig").write_bytes(b"garbage")
    sealed(bundle)
    for trusted in (None, Trusted.by_key(str(keys[1]))):
        found = wrong(bundle, trusted)
        assert list(found) == ["model.sig"]
        assert found["model.sig"].startswith("expected JSON")


def test_a_bundle_that_nobody_signed_is_refused_where_somebody_must_have(bundle: Path, keys: tuple[Path, Path]) -> None:
    assert wrong(bundle) == {}
    assert "nobody answers for these files" in wrong(bundle, Trusted.by_key(str(keys[1])))["model.sig"]


def test_a_certificate_is_checked_against_the_roots_that_the_user_names(bundle: Path, tmp_path: Path) -> None:
    files = {name: str(file) for name, file in made.certified(tmp_path).items()}
    sign(bundle, Sign(key=files["key"], certificate=files["chain"]))
    assert wrong(bundle, Trusted.by_certificates([files["root"]])) == {}
    (tmp_path / "stranger").mkdir()
    stranger = made.certified(tmp_path / "stranger")["root"]
    refused = wrong(bundle, Trusted.by_certificates([str(stranger)]))["model.sig"]
    assert refused == f"it is not a signature by a certificate that {stranger} vouches for: certificate signature failure"
    _, key = made.key_pair(tmp_path)
    assert wrong(bundle, Trusted.by_key(str(key)))["model.sig"] == (
        "it was made with a certificate: give --certificate-chain to check who signed it"
    )


def test_an_archive_of_a_signed_bundle_is_checked_like_its_folder(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    trusted = Trusted.by_key(str(keys[1]))
    for kind in ("zip", "tar", "gztar"):
        archive = Path(shutil.make_archive(str(tmp_path / kind), kind, signed.parent, signed.name))
        assert wrong(archive, trusted) == {}
        assert checked(archive).signed is not None


def test_an_archive_beside_the_signature_is_checked_by_its_own_digest(bundle: Path, keys: tuple[Path, Path]) -> None:
    """As `package.formats=[zip]` makes it: the signature is over it, and so not in it."""
    archive = bundle / "multiply-float32.zip"
    names = [path for path in bundle.rglob("*") if path.is_file() and path.name not in ("provenance.json", "SHA256SUMS")]
    sums = [line for line in (bundle / "SHA256SUMS").read_text().splitlines() if not line.endswith("provenance.json")]
    with zipfile.ZipFile(archive, "w") as file:
        for path in names:
            file.write(path, path.relative_to(bundle))
        file.writestr("SHA256SUMS", "".join(f"{line}\n" for line in sums))
    open_signer(Sign(key=str(keys[0]))).sign(bundle, "multiply-float32")
    trusted = Trusted.by_key(str(keys[1]))
    assert "nobody answers" in wrong(archive, trusted)["model.sig"]
    assert wrong(archive, trusted, bundle / "model.sig") == {}
    with zipfile.ZipFile(archive, "a") as file:
        file.comment = b"another archive with the same files"
    found = wrong(archive, trusted, bundle / "model.sig")
    assert found, "its files are the same, but that is not what was signed"


def test_a_signature_may_lie_elsewhere(bundle: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    trusted = Trusted.by_key(str(keys[1]))
    open_signer(Sign(key=str(keys[0]))).sign(bundle, "multiply-float32")
    moved = Path(shutil.move(bundle / "model.sig", tmp_path / "moved.sig"))
    assert wrong(bundle, trusted, moved) == {}
    (bundle / "report.html").write_text("another")
    sealed(bundle)
    assert str(moved) not in wrong(bundle), "which was not asked for"
    assert wrong(bundle, trusted, moved)


def test_what_model_signing_signs_by_itself_is_taken(bundle: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """Its command covers SHA256SUMS, too, which is why its signature lies beside the bundle."""
    from model_signing import signing

    signing.Config().use_elliptic_key_signer(private_key=keys[0]).sign(bundle, tmp_path / "own.sig")
    assert wrong(bundle, Trusted.by_key(str(keys[1])), tmp_path / "own.sig") == {}


def test_whom_to_trust_must_be_readable(tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for trust in (lambda: Trusted.by_key(str(tmp_path / "none")), lambda: Trusted.by_certificates([str(tmp_path / "none")])):
        with pytest.raises(ConfigError, match="cannot be read: No such file"):
            trust()
    with pytest.raises(ConfigError, match="expected the public key of an elliptic curve"):
        Trusted.by_key(str(keys[0]))
    with pytest.raises(ConfigError, match="expected certificates in PEM"):
        Trusted.by_certificates([str(keys[1])])
    monkeypatch.setattr("mlkit_build.signing.library._NEEDED", ("a_module_that_is_not_there",))
    for trust in (lambda: Trusted.by_key(str(keys[1])), lambda: Trusted.by_identity("who", "https://provider.example.org")):
        with pytest.raises(ConfigError, match="signatures need the package model-signing"):
            trust()


def test_sigstore_is_asked_for_the_identity(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from model_signing import verifying

    asked = {}

    def taken(config: verifying.Config, **options: str) -> verifying.Config:
        asked.update(options)
        return config

    monkeypatch.setattr(verifying.Config, "use_sigstore_verifier", taken)
    trusted = Trusted.by_identity("somebody@example.org", "https://accounts.example.org")
    assert asked == {"identity": "somebody@example.org", "oidc_issuer": "https://accounts.example.org"}
    assert wrong(signed, trusted)["model.sig"] == "it was made with a key: give --key to check who signed it"

    def unreachable(config: verifying.Config, **_: str) -> verifying.Config:
        raise OSError("no route to host")

    monkeypatch.setattr(verifying.Config, "use_sigstore_verifier", unreachable)
    with pytest.raises(SourceError, match="Sigstore's roots of trust cannot be fetched: no route to host"):
        Trusted.by_identity("somebody@example.org", "https://accounts.example.org")
