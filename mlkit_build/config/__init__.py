"""Hydra's side of the house: from overrides and YAML to frozen dataclasses. Nothing below this room knows Hydra.

Hydra is imported when something is composed: verbs that only look at files do not wait for it.
"""

from typing import TYPE_CHECKING, Any

from mlkit_build.config.roots import RecipeFolder, Roots

if TYPE_CHECKING:
    from mlkit_build.config.composing import compose, from_cfg

__all__ = ["RecipeFolder", "Roots", "compose", "from_cfg"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mlkit_build.config import composing

    return getattr(composing, name)
