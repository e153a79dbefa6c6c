"""A bundle says what it is made of to tools that know nothing of this one."""

from __future__ import annotations

import json

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.bundle.test_provenance import checked
from tests.conftest import Workspace
from tests.promises.conftest import Command


def test_the_bill_and_the_provenance_of_a_bundle_are_of_their_schemas_and_verify_checks_them(
    workspace: Workspace, command: Command
) -> None:
    workspace.copy("multiply")
    report = workspace.build("recipe=multiply")
    assert report.bundle is not None, report.error
    whole = (report.bundle / "sbom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(whole) is None
    predicate = checked(json.loads((report.bundle / "provenance.json").read_bytes()))
    uris = [described.uri for described in predicate.build_definition.resolved_dependencies]
    manifest = json.loads((report.bundle / "manifest.json").read_bytes())
    tools = {name for name, version in manifest["toolchain"].items() if version != "absent"}
    packages = [f"pkg:pypi/{name}" for name in sorted(tools - {"cpu", "machine", "mlkit-build", "python"})]
    assert sorted(uri.partition("@")[0] for uri in uris if uri.startswith("pkg:")) == packages
    bill = json.loads(whole)
    model, listed = bill["metadata"]["component"], {entry["path"]: entry["sha256"] for entry in manifest["outputs"]}
    assert model["hashes"][0]["content"] == listed["multiply.tflite"]
    inputs = {(entry["path"], entry["sha256"]) for entry in manifest["inputs"]}
    assert {(part["name"], part["hashes"][0]["content"]) for part in bill["components"] if "hashes" in part} == inputs
    assert command("verify", str(report.bundle))[0] == 0
    (report.bundle / "sbom.cdx.json").write_text(whole.replace('"scope": "excluded"', '"scope": "optional"', 1), encoding="utf-8")
    code, out, err = command("verify", str(report.bundle))
    assert code == 4
    assert "sbom.cdx.json  its sha256 is" in out + err
    assert workspace.build("recipe=multiply").status == "built"
    assert (report.bundle / "sbom.cdx.json").read_text(encoding="utf-8") == whole


def test_two_caches_and_folders_give_one_bill(workspace: Workspace) -> None:
    workspace.copy("add_one")
    first = workspace.build("recipe=add_one")
    other = workspace.build("recipe=add_one", f"cache.dir={workspace.folder}/other", f"output_dir={workspace.folder}/elsewhere")
    assert first.bundle is not None
    assert other.bundle is not None
    assert first.bundle != other.bundle
    assert (first.bundle / "sbom.cdx.json").read_bytes() == (other.bundle / "sbom.cdx.json").read_bytes()
