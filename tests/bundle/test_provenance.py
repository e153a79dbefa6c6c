"""The provenance says how, where and when, in the words of in-toto and SLSA, and gives no secret away."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from mlkit_build.bundle.manifest import entries
from mlkit_build.bundle.provenance import git_state, statement
from mlkit_build.engine import Action, Result
from mlkit_build.store import Digest
from tests.bundle.test_manifest import a_manifest


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, and no configuration of the user's."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "recipe.yaml").write_text("name: toy\n", encoding="utf-8")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "first")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_named_and_a_clean_tree_is_clean(repository: Path) -> None:
    state = git_state(repository)
    assert state is not None
    assert state["commit"] == git(repository, "rev-parse", "HEAD")
    assert state["dirty"] is False


def test_an_edited_recipe_makes_the_tree_dirty(repository: Path) -> None:
    (repository / "recipe.yaml").write_text("name: other\n", encoding="utf-8")
    state = git_state(repository)
    assert state is not None
    assert state["dirty"] is True


@pytest.mark.parametrize("remote", ["https://user:secret@example.org/a/b.git", "https://token@example.org/a/b.git"])
def test_a_password_in_the_remote_is_not_told(repository: Path, remote: str) -> None:
    git(repository, "remote", "add", "origin", remote)
    state = git_state(repository)
    assert state is not None
    assert state["remote"] == "https://example.org/a/b.git"


def test_outside_of_a_repository_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None


def test_a_machine_without_git_is_no_error(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert git_state(repository) is None


def test_the_statement_names_every_subject_with_its_digest_and_how_it_was_made(repository: Path) -> None:
    action = Action("freeze", "freeze", 1, "python", "module:function", {}, {}, ("out",))
    result = Result(action, "0" * 64, {"out": Digest.of_bytes(b"")}, True, 0.12345, "unchanged")
    subjects = entries([("toy.tflite", Digest.of_bytes(b"model")), ("manifest.json", Digest.of_bytes(b"{}"))])
    found = json.loads(statement(a_manifest(), [result], subjects, repository, ["mlkit-build", "recipe=toy"], 0.0))
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
    graph, commit = definition["resolvedDependencies"]
    assert graph["name"] == "graph.pb"
    assert commit["digest"] == {"gitCommit": git(repository, "rev-parse", "HEAD")}
    assert details["metadata"]["startedOn"] == "1970-01-01T00:00:00Z"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", details["metadata"]["finishedOn"])
