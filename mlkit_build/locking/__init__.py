"""Lock files: what a recipe's packages are made of and come to, kept beside the recipe, and builds held to it."""

from mlkit_build.locking.document import Lock, LockedVariant, locked_variant, read_lock, write_variant
from mlkit_build.locking.enforcing import Enforced, changes_between

__all__ = ["Enforced", "Lock", "LockedVariant", "changes_between", "locked_variant", "read_lock", "write_variant"]
