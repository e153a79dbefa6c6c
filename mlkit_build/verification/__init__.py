"""Whether a bundle is what it says it is: every file hashed again and compared with every document that speaks of it.

Neither TensorFlow nor LiteRT is imported, nothing of the bundle is run, and nothing outside of it is read or written.
"""

from mlkit_build.verification.alone import Beside
from mlkit_build.verification.findings import Verified, Wrong
from mlkit_build.verification.signed import Detached
from mlkit_build.verification.verify import verify

__all__ = ["Beside", "Detached", "Verified", "Wrong", "verify"]
