"""Who answers for a bundle: signing it and checking a signature, both by model-signing (OpenSSF), the extra `sign`.

There is no cryptography here. What a signature says of itself is read by `mlkit_build.verification.envelope`, without the extra.
"""

from mlkit_build.signing.signer import Signer, open_signer
from mlkit_build.signing.trusted import Trusted

__all__ = ["Signer", "Trusted", "open_signer"]
