"""What a bundle holds, before it is one: the files that actions made, the bill and the manifest that list them, and archives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlkit_build.bundle.archives import Archive
from mlkit_build.bundle.manifest import FileEntry, Manifest, entries
from mlkit_build.bundle.publish import MANIFEST, PROVENANCE, is_published, publish
from mlkit_build.bundle.resigning import is_as_asked
from mlkit_build.bundle.sbom import SBOM, Input, bill_of_materials
from mlkit_build.engine.action import Result
from mlkit_build.errors import StageError
from mlkit_build.records import dataclass
from mlkit_build.store import Digest

if TYPE_CHECKING:
    from mlkit_build.signing import Signer


@dataclass(frozen=True)
class Content:
    """A file of the bundle: which action's output it is, or what follows from the manifest."""

    action: str
    output: str
    digest: Digest
    data: bytes | None = None


@dataclass(frozen=True)
class Contents:
    """All of a bundle but what varies between equal builds.

    Attributes:
        manifest: Lists `files`.
        data: Its bytes.
        files: Place in the bundle -> what is there; neither manifest nor archives.
        archives: Each holds the files and the manifest.
    """

    manifest: Manifest
    data: bytes
    files: Mapping[str, Content]
    archives: tuple[Archive, ...]

    def are_at(self, place: Path, signer: Signer | None) -> bool:
        """Return whether the folder `place` is this bundle already, byte for byte, and signed by whom it should be."""
        digests = {name: found.digest for name, found in self.files.items()}
        return is_published(place, self.data, digests, self.archives, partial(is_as_asked, signer))

    def publish(
        self,
        place: Path,
        output: Callable[[str, str], Path],
        provenance: Callable[[Sequence[FileEntry]], bytes],
        signer: Signer | None,
    ) -> None:
        """Put the bundle at `place` in one step.

        Args:
            output: (action, file) -> where that is.
            provenance: Returns the file of that name, given all that it speaks for.
            signer: Who signs all of it; None for nobody.

        Raises:
            StageError: A file was damaged while it was copied, or the bundle could not be signed.
            StoreError: The output folder cannot be written.
        """
        made = {name: output(found.action, found.output) for name, found in self.files.items() if found.data is None}

        def write(folder: Path) -> None:
            import shutil

            for name, path in made.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name)
                if Digest.of_file(folder / name) != self.files[name].digest:
                    raise StageError(f"package: {name} was damaged while it was copied", "check the disk, then build again")
            for name, found in self.files.items():
                if found.data is not None:
                    (folder / name).write_bytes(found.data)
            (folder / MANIFEST).write_bytes(self.data)
            for archive in self.archives:
                with (folder / archive.name).open("wb") as file:
                    archive.write(folder, [*self.files, MANIFEST], file)
            wholes = [(name, Digest.of_file(folder / name)) for name in (MANIFEST, *(archive.name for archive in self.archives))]
            (folder / PROVENANCE).write_bytes(provenance([*self.manifest.outputs, *entries(wholes)]))
            if signer:
                signer.sign(folder, f"{self.manifest.name}-{self.manifest.variant}")

        publish(place, write)


def made_files(recipe: str, results: Iterable[Result]) -> dict[str, Content]:
    """Return place in the bundle -> the file that an action made for it.

    Args:
        recipe: Its name, which the model's file gets.
        results: Of the actions whose outputs make up the bundle.
    """
    return {
        (f"{recipe}.tflite" if output == "model.tflite" else output): Content(result.action.name, output, digest)
        for result in results
        for output, digest in result.outputs.items()
    }


def completed(manifest: Manifest, files: Mapping[str, Content], inputs: Sequence[Input], archives: Iterable[Archive]) -> Contents:
    """Return the contents of a bundle: the files and the bill, all listed.

    Args:
        manifest: With no outputs yet.
        files: Place in the bundle -> what is there.
        inputs: Those of the manifest.
        archives: Of all of it.
    """
    bill = bill_of_materials(replace(manifest, outputs=_outputs(files)), inputs)
    files = {**files, SBOM: Content("", "", Digest.of_bytes(bill), bill)}
    manifest = replace(manifest, outputs=_outputs(files))
    return Contents(manifest, manifest.to_bytes(), files, tuple(archives))


def _outputs(files: Mapping[str, Content]) -> tuple[FileEntry, ...]:
    return entries(sorted((name, found.digest) for name, found in files.items()))
