"""The repository of a recipe is told without secrets, and called clean only where it is; git is asked, and changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlkit_build.bundle.repository import repository_of
from mlkit_build.store import Tree
from tests.bundle.conftest import git


def commit(folder: Path) -> None:
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "more")


def is_dirty(folder: Path, *conf: Path, inputs: tuple[Path | Tree, ...] = ()) -> bool:
    state = repository_of(folder, conf, inputs)
    assert state is not None
    return state.dirty


def test_the_commit_is_named_and_a_clean_tree_is_clean(repository: Path) -> None:
    state = repository_of(repository)
    assert state is not None
    assert state.commit == git(repository, "rev-parse", "HEAD")
    assert state.dirty is False


def test_an_edited_recipe_makes_the_tree_dirty(repository: Path) -> None:
    (repository / "recipe.yaml").write_text("name: other\n", encoding="utf-8")
    state = repository_of(repository)
    assert state is not None
    assert state.dirty is True


@pytest.mark.parametrize("remote", ["https://user:secret@example.org/a/b.git", "https://token@example.org/a/b.git"])
def test_a_password_in_the_remote_is_not_told(repository: Path, remote: str) -> None:
    git(repository, "remote", "add", "origin", remote)
    state = repository_of(repository)
    assert state is not None
    assert state.remote == "git+https://example.org/a/b.git"


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("git@example.org:a/b.git", "git+ssh://git@example.org/a/b.git"),
        ("ssh://git@example.org:22/a/b.git", "git+ssh://example.org:22/a/b.git"),
        ("example.org:/a/b.git", "git+ssh://example.org/a/b.git"),
        ("/srv/git/a b.git", "git+file:///srv/git/a%20b.git"),
        ("user:secret@example.org:a/b.git", "git+ssh://user@example.org/a/b.git"),
        ("https://example.org/a.git?private_token=secret", "git+https://example.org/a.git?private_token=..."),
        ("https://example.org/team/repo@v2.git", "git+https://example.org/team/repo@v2.git"),
        ("file:///srv/team@corp/r.git", "git+file:///srv/team@corp/r.git"),
        ("https://example.org/a b/\x1b[31m.git", "git+https://example.org/a%20b/%1B[31m.git"),
        ('ext::sh -c "echo secret"', None),
        ("https://user:a/secret@example.org/b.git", None),
    ],
)
def test_the_remote_is_a_uri_without_secrets_or_none(repository: Path, remote: str, expected: str | None) -> None:
    git(repository, "remote", "add", "origin", remote)
    state = repository_of(repository)
    assert state is not None
    assert state.remote == expected


def test_a_repository_without_a_remote_has_none(repository: Path) -> None:
    state = repository_of(repository)
    assert state is not None
    assert state.remote is None


def test_a_change_elsewhere_in_the_repository_makes_it_dirty_and_a_new_file_only_beside_the_recipe(repository: Path) -> None:
    recipe = repository / "recipes" / "toy"
    recipe.mkdir(parents=True)
    (recipe / "recipe.yaml").write_text("name: toy\n", encoding="utf-8")
    git(repository, "add", ".")
    git(repository, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "second")
    (repository / "dist").write_text("a build's", encoding="utf-8")
    assert is_dirty(recipe) is False
    (recipe / "labels.txt").write_text("zero", encoding="utf-8")
    assert is_dirty(recipe) is True
    (recipe / "labels.txt").unlink()
    (repository / "recipe.yaml").write_text("name: other\n", encoding="utf-8")  # as a file of ./conf is: composing read it
    assert is_dirty(recipe) is True


def test_outside_of_a_repository_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert repository_of(tmp_path) is None


def test_a_machine_without_git_is_no_error(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert repository_of(repository) is None


def test_a_new_file_of_a_folder_of_configuration_makes_it_dirty(repository: Path, tmp_path: Path) -> None:
    recipe, conf = repository / "recipes", repository / "conf"
    (conf / "quantization").mkdir(parents=True)
    recipe.mkdir()
    (recipe / "recipe.yaml").write_text("name: toy\n", encoding="utf-8")
    (repository / ".gitignore").write_text("mine.yaml\n", encoding="utf-8")
    commit(repository)
    elsewhere = tmp_path / "conf"
    elsewhere.mkdir()
    (elsewhere / "a.yaml").write_text("mode: int8\n", encoding="utf-8")
    assert not is_dirty(recipe, conf, elsewhere)
    for name in ("float32.yaml", "mine.yaml"):
        (conf / "quantization" / name).write_text("mode: int8\n", encoding="utf-8")
        assert is_dirty(recipe, conf)
        assert not is_dirty(recipe)
        (conf / "quantization" / name).unlink()


def test_what_git_overlooks_makes_it_dirty_where_the_build_read_it(repository: Path) -> None:
    (repository / ".gitignore").write_text("*.npz\nsamples/\n", encoding="utf-8")
    commit(repository)
    (repository / "data.npz").write_bytes(b"1")
    (repository / "other.npz").write_bytes(b"1")
    (repository / "samples").mkdir()
    (repository / "samples" / "1.png").write_bytes(b"1")
    assert not is_dirty(repository, inputs=(repository / "recipe.yaml",))
    assert is_dirty(repository, inputs=(repository / "data.npz",))
    assert is_dirty(repository, inputs=(Tree(repository / "samples"),))
    git(repository, "update-index", "--assume-unchanged", "recipe.yaml")
    assert is_dirty(repository)


def test_a_hook_of_another_repository_does_not_stand_for_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = git(repository, "rev-parse", "HEAD")
    git(tmp_path, "clone", "-q", str(repository), "other")
    commit_more = tmp_path / "other" / "more"
    commit_more.write_bytes(b"")
    commit(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / ".git" / "index"))
    state = repository_of(repository)
    assert state is not None
    assert (state.commit, state.dirty) == (expected, False)


def test_git_writes_nothing_and_runs_nothing_of_the_repository(repository: Path, tmp_path: Path) -> None:
    git(repository, "config", "core.fsmonitor", f"touch '{tmp_path}/ran'; true")
    os.utime(repository / "recipe.yaml", (1_000_000_000, 1_000_000_000))  # git would note that its content is the same
    before = (repository / ".git/index").read_bytes()
    assert not is_dirty(repository)
    assert (repository / ".git/index").read_bytes() == before
    assert not (tmp_path / "ran").exists()
    git(repository, "status")
    assert (tmp_path / "ran").exists()
    assert (repository / ".git/index").read_bytes() != before


def test_bytes_that_are_no_text_are_no_error(repository: Path) -> None:
    git(repository, "config", "core.quotepath", "false")
    Path(os.fsdecode(os.fsencode(repository) + b"/caf\xe9")).write_bytes(b"")
    with (repository / ".git/config").open("ab") as file:
        file.write(b'[remote "origin"]\n\turl = https://example.org/caf\xe9.git\n')
    state = repository_of(repository)
    assert state is not None
    assert (state.remote, state.dirty) == ("git+https://example.org/caf%E9.git", True)
