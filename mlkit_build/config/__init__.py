"""Hydra's side of the house: from overrides and YAML to frozen dataclasses. Nothing below this room knows Hydra."""

from mlkit_build.config.compose import compose, from_cfg
from mlkit_build.config.roots import RecipeFolder, Roots

__all__ = ["RecipeFolder", "Roots", "compose", "from_cfg"]
