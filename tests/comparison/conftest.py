"""The bundle that verification spoils serves here too."""

from tests.verification.conftest import bundle, published

__all__ = ["bundle", "published"]
