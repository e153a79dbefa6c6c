"""Shares the picture classifier of the stages' tests."""

from __future__ import annotations

from tests.stages.conftest import built

__all__ = ["built"]
