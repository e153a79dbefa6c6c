"""Whether the signature of a bundle that is there already will do, so that a build with nothing to do signs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlkit_build.store import Digest

if TYPE_CHECKING:
    from mlkit_build.signing import Signer


def is_as_asked(signer: Signer | None, signature: bytes | None, digests: Mapping[str, Digest]) -> bool:
    """Return whether a signature is by the signer and over exactly these files.

    Where nobody is asked to sign, a signature over these files stays: whoever made it still answers for them. Whether its bytes
    are those that were published is for SHA256SUMS to say.

    Args:
        signer: Who is to sign; None for nobody.
        signature: The one that is there; None for none.
        digests: What it has to cover, by name.
    """
    if signature is None:
        return signer is None
    from mlkit_build.strict_json import UnreadableError
    from mlkit_build.verification.envelope import read_envelope

    try:
        envelope = read_envelope(signature)
    except UnreadableError:
        return False
    covered = {name: digest.sha256 for name, digest in digests.items()}
    return envelope.files == covered and (signer is None or signer.made(envelope))
