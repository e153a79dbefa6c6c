"""Whether a recipe gives the same bytes again: every action is done anew, twice, under conditions that may not matter."""

from mlkit_build.reproduction.check import Checked, Difference, check

__all__ = ["Checked", "Difference", "check"]
