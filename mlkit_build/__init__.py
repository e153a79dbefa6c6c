"""A declarative build system from trained TensorFlow models to verified packages for ML Kit and LiteRT.

From Python: `build(recipe, *overrides)` and `export(model, ...)`, both of which return what they built.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlkit_build.notebook import Built, build, export

__all__ = ["Built", "__version__", "build", "export"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what a notebook uses when it is used: the command line needs none of it."""
    if name in ("Built", "build", "export"):
        from mlkit_build import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
