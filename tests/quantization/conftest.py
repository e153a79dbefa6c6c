"""Shares the picture classifier of the stages' tests, and a model for everything that a recipe may ask of quantization."""

from __future__ import annotations

import pytest

from tests.quantization.models import Tower, build_tower
from tests.stages.conftest import built

__all__ = ["built"]


@pytest.fixture(scope="session")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Tower:
    return build_tower(tmp_path_factory.mktemp("tower"))
