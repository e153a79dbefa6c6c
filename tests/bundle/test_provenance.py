"""The provenance says how, where and when, in the words of in-toto and SLSA, and gives no secret away."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict, ParseError
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage

from mlkit_build.bundle.manifest import entries
from mlkit_build.bundle.provenance import statement
from mlkit_build.bundle.repository import repository_of
from mlkit_build.engine import Action, Result
from mlkit_build.store import Digest
from mlkit_build.timing import Timing
from tests.bundle.conftest import git
from tests.bundle.test_manifest import a_manifest


def test_the_statement_names_every_subject_with_its_digest_and_how_it_was_made(repository: Path) -> None:
    action = Action("freeze", "freeze", 1, "python", "module:function", {}, {}, ("out",))
    result = Result(action, "0" * 64, {"out": Digest.of_bytes(b"")}, True, 0.12345, "unchanged")
    subjects = entries([("toy.tflite", Digest.of_bytes(b"model")), ("manifest.json", Digest.of_bytes(b"{}"))])
    found = json.loads(statement(a_manifest(), [result], subjects, repository_of(repository), ["mlkit-build", "recipe=toy"], 0.0))
    # https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and https://slsa.dev/spec/v1.0/provenance
    assert (found["_type"], found["predicateType"]) == ("https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1")
    assert found["subject"] == [{"name": entry.path, "digest": {"sha256": entry.sha256}} for entry in subjects]
    definition, details = found["predicate"]["buildDefinition"], found["predicate"]["runDetails"]
    assert definition["externalParameters"] == {
        "recipe": "toy",
        "variant": "float32",
        "command": ["mlkit-build", "recipe=toy"],
    }
    (ran,) = definition["internalParameters"]["actions"]
    assert ran == {"name": "freeze", "key": "0" * 64, "cached": True, "seconds": 0.123, "reason": "unchanged"}
    graph, commit, *packages = definition["resolvedDependencies"]
    assert graph == {"name": "graph.pb", "digest": {"sha256": Digest.of_bytes(b"graph").sha256}}
    assert commit["digest"] == {"gitCommit": git(repository, "rev-parse", "HEAD")}
    assert "uri" not in commit
    assert packages == []  # a_manifest has Python alone
    assert details["metadata"]["startedOn"] == "1970-01-01T00:00:00Z"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", details["metadata"]["finishedOn"])


def checked(document: Mapping[str, Any]) -> Provenance:
    """Read a statement with the types that in-toto publishes; return its predicate. Raises where a field is unknown."""
    message = ParseDict(document, StatementMessage())
    Statement.copy_from_pb(message).validate()
    provenance: Provenance = ParseDict(document["predicate"], Provenance())
    definition, details = provenance.build_definition, provenance.run_details
    # what the specification demands beyond the types: https://slsa.dev/spec/v1.0/provenance#fields
    assert re.match("[a-z]+:", definition.build_type)
    assert definition.external_parameters.fields
    assert re.match("[a-z]+:", details.builder.id)
    for described in (*definition.resolved_dependencies, *details.byproducts):
        ResourceDescriptor.copy_from_pb(described).validate()
        assert described.uri or described.digest or described.content
    return provenance


def test_it_is_what_in_toto_and_slsa_publish_types_for(repository: Path) -> None:
    git(repository, "remote", "add", "origin", "https://example.org/a/b.git")
    manifest = replace(
        a_manifest(),
        toolchain={"machine": "x86_64", "mlkit-build": "0.1.0", "numpy": "2.4.6", "python": "3.11", "tf-keras": "absent"},
    )
    action = Action("latency", "validate", 1, "python", "module:function", {}, {}, ("latency.json",))
    result = Result(action, "0" * 64, {"latency.json": Digest.of_bytes(b"timed")}, False, 0.5, "never built here")
    subjects = entries([("toy.tflite", Digest.of_bytes(b"model"))])
    timing = Timing(0.5, 0.6, 0.4, 2.0, 10, 1, 1, "xnnpack", 1000, "a machine")
    document = json.loads(statement(manifest, [result], subjects, repository_of(repository), ["mlkit-build"], 5.0, timing))
    provenance = checked(document)
    definition, details = provenance.build_definition, provenance.run_details
    assert {entry.uri: dict(entry.digest) for entry in definition.resolved_dependencies} == {
        "": {"sha256": Digest.of_bytes(b"graph").sha256},
        "git+https://example.org/a/b.git": {"gitCommit": git(repository, "rev-parse", "HEAD")},
        "pkg:pypi/numpy@2.4.6": {},
    }
    assert definition.resolved_dependencies[1].annotations["dirty"] is False
    assert details.metadata.started_on.ToSeconds() == 5
    assert details.metadata.finished_on.ToSeconds() > 1_700_000_000
    (byproduct,) = details.byproducts
    assert dict(byproduct.digest) == {"sha256": Digest.of_bytes(b"timed").sha256}


@pytest.mark.parametrize(
    ("field", "value"),
    [("buildDefinition", {"unknown": 1}), ("runDetails", {"metadata": {"startedOn": "yesterday"}}), ("no_such_part", {})],
)
def test_the_types_refuse_what_is_not_of_the_schema(repository: Path, field: str, value: Any) -> None:
    document = json.loads(
        statement(a_manifest(), [], entries([("a", Digest.of_bytes(b""))]), repository_of(repository), ["mlkit-build"], 0.0)
    )
    checked(document)
    document["predicate"][field] = value
    with pytest.raises(ParseError):
        checked(document)


def test_the_command_is_told_without_the_secrets_of_its_urls() -> None:
    command = ["mlkit-build", 'source.path="http://user:PW@h/graph.pb?token=T"', "source={kind: x, path: 'https://u:PW@h/m?t=T'}"]
    found = json.loads(statement(a_manifest(), [], entries([("a", Digest.of_bytes(b""))]), None, command, 0.0))
    assert found["predicate"]["buildDefinition"]["externalParameters"]["command"] == [
        "mlkit-build",
        'source.path="http://h/graph.pb?token=..."',
        "source={kind: x, path: 'https://h/m?t=...'}",
    ]
