"""What a bundle's provenance says: of which files it speaks, and whether it tells of the manifest's build or of another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlkit_build.bundle.provenance import BUILD_TYPE
from mlkit_build.errors import ConfigError
from mlkit_build.plain import from_plain
from mlkit_build.records import dataclass
from mlkit_build.strict_json import UnreadableError, read_json
from mlkit_build.verification.documents import StatedInFull, check_named

_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"


@dataclass(frozen=True)
class Provenance:
    """See `mlkit_build.bundle.provenance.statement`.

    Attributes:
        files: What it speaks for, file -> SHA-256.
        inputs: What the build was made of, each as (name, SHA-256).
        actions: What ran or did not have to, each as (name, key).
    """

    files: Mapping[str, str]
    recipe: str
    variant: str
    toolchain: Mapping[str, str]
    actions: tuple[tuple[str, ...], ...]
    inputs: tuple[tuple[str, ...], ...]


def read_provenance(data: bytes) -> Provenance:
    """Return what a `provenance.json` says.

    Raises:
        UnreadableError: It is no in-toto Statement v1 with a SLSA v1 predicate, or of another type of build.
    """
    found = read_json(data)
    if not isinstance(found, dict) or (found.get("_type"), found.get("predicateType")) != (_STATEMENT, _PREDICATE):
        raise UnreadableError(f"expected an in-toto statement of the type {_STATEMENT} with {_PREDICATE}")
    try:
        definition = _mapping(_mapping(found, "", "predicate"), "predicate", "buildDefinition")
        where = "predicate.buildDefinition"
        if definition.get("buildType") != BUILD_TYPE:
            raise UnreadableError(f"{where}.buildType: expected {BUILD_TYPE!r}, found {definition.get('buildType')!r}")
        stated = _mapping(definition, where, "externalParameters")
        parameters = _mapping(definition, where, "internalParameters")
        return from_plain(
            Provenance,
            {
                "files": _files(found),
                "recipe": stated.get("recipe"),
                "variant": stated.get("variant"),
                "toolchain": parameters.get("toolchain"),
                "actions": [(each.get("name"), each.get("key")) for each in _entries(parameters, where, "actions")],
                "inputs": list(_inputs(definition, where)),
            },
            "predicate",
        )
    except ConfigError as error:
        raise UnreadableError(error.message) from error


def contradictions(provenance: Provenance, stated: StatedInFull) -> Iterator[str]:
    """Yield what the provenance says otherwise than the manifest: recipe, variant, toolchain, inputs, actions.

    Of actions it may know more: what only measures time is not in a manifest.
    """
    for what, said, expected in (
        ("recipe", provenance.recipe, stated.name),
        ("variant", provenance.variant, stated.variant),
    ):
        if said != expected:
            yield f"says that the {what} is {said!r}, the manifest {expected!r}"
    for name in sorted(provenance.toolchain.keys() | stated.toolchain.keys()):
        said, expected = provenance.toolchain.get(name, "none"), stated.toolchain.get(name, "none")
        if said != expected:
            yield f"says that it was made with {name} {said}, the manifest {expected}"
    inputs: set[tuple[str, ...]] = {(entry.path, entry.sha256) for entry in stated.inputs}
    for name, sha256 in sorted(inputs ^ set(provenance.inputs)):
        alone = "only the manifest names" if (name, sha256) in inputs else "the manifest does not name"
        yield f"of the inputs: {alone} {name} {sha256}"
    actions: set[tuple[str, ...]] = {(entry.name, entry.key) for entry in stated.actions}
    for action, key in sorted(actions - set(provenance.actions)):
        yield f"of the actions: only the manifest has {action} with the key {key}"


def _files(found: Mapping[str, Any]) -> dict[str, str]:
    subjects = found.get("subject")
    if not isinstance(subjects, list):
        raise UnreadableError("subject: expected a list")
    named: dict[str, str] = {}
    for index, subject in enumerate(subjects):
        digest = subject.get("digest") if isinstance(subject, dict) else None
        name: Any = subject.get("name") if isinstance(subject, dict) else None
        sha256: Any = digest.get("sha256") if isinstance(digest, dict) else None
        check_named(f"subject[{index}]", name, sha256, named)
        named[name] = sha256
    return named


def _inputs(definition: Mapping[str, Any], where: str) -> Iterator[tuple[Any, Any]]:
    """Yield the dependencies that are files; the repository has a commit, and packages have a URL."""
    for index, entry in enumerate(_entries(definition, where, "resolvedDependencies")):
        if "digest" in entry:
            digest = _mapping(entry, f"{where}.resolvedDependencies[{index}]", "digest")
            if "sha256" in digest:
                yield entry.get("name"), digest["sha256"]


def _entries(found: Mapping[str, Any], where: str, name: str) -> list[dict[str, Any]]:
    entries = found.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UnreadableError(f"{where}.{name}: expected a list of mappings")
    return entries


def _mapping(found: Mapping[str, Any], where: str, name: str) -> dict[str, Any]:
    value = found.get(name)
    if not isinstance(value, dict):
        raise UnreadableError(f"{f'{where}.' if where else ''}{name}: expected a mapping, found {type(value).__name__}")
    return value
