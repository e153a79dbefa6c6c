"""What a field of a recipe holds that must be given."""

MANDATORY = "???"
"""OmegaConf's spelling of "this value must be given"."""
