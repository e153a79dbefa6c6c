"""What each action is told, and its version: the interface between the plan of a build and the stages that do the work.

These classes hold exactly what may change an action's result, and nothing else. Importing them imports no stage.
"""

from __future__ import annotations

from mlkit_build.stages.params_converting import (
    CalibrateParams,
    ContractParams,
    ConvertParams,
    FreezeInput,
    FreezeParams,
    QuantizeGraphParams,
    QuantizeParams,
)
from mlkit_build.stages.params_measuring import (
    AttributeParams,
    EvaluateParams,
    HopsParams,
    LatencyParams,
    OriginParams,
    ReferenceParams,
    RuntimeParams,
)
from mlkit_build.stages.params_packaging import (
    AppParams,
    DescribeParams,
    PackageParams,
    RuntimeLimit,
)

__all__ = [
    "CODE_PREFIX",
    "SAMPLES",
    "SAMPLES_DIGEST",
    "SOURCE_PREFIX",
    "VERSIONS",
    "AppParams",
    "AttributeParams",
    "CalibrateParams",
    "ContractParams",
    "ConvertParams",
    "DescribeParams",
    "EvaluateParams",
    "FreezeInput",
    "FreezeParams",
    "HopsParams",
    "LatencyParams",
    "OriginParams",
    "PackageParams",
    "QuantizeGraphParams",
    "QuantizeParams",
    "ReferenceParams",
    "RuntimeLimit",
    "RuntimeParams",
]

VERSIONS = {
    "freeze": 4,
    "contract": 4,
    "convert": 4,
    "calibrate": 10,
    "quantize": 7,
    "quantize_graph": 7,
    "reference": 4,
    "evaluate": 15,
    "origin": 3,
    "hops": 3,
    "runtime": 4,
    "latency": 2,
    "attribute": 3,
    "describe": 5,
    "app": 5,
    "suspect": 3,
    "package": 9,
    "readme": 3,
    "aar": 2,
    "aipack": 1,
    "ios": 1,
}
"""Raised whenever an action's result changes for equal params and inputs: the cache then forgets what it made before."""

SOURCE_PREFIX = "source/"
CODE_PREFIX = "metric_code/"
"""Inputs of that prefix are the source's files, or those of the recipe's own metrics, where an action takes others too."""
SAMPLES = "samples.json"
"""An output that no action reads: which samples there were, for the next `explain`."""
SAMPLES_DIGEST = "samples.sha256"
"""Which samples `reference` was run on, where code makes them."""
