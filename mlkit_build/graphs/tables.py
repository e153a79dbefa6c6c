"""Lookup tables: their content is not in the graph, and LiteRT has no builtin that looks something up in one.

Frozen, a table would be empty, and every lookup would answer its default. The model would convert and mispredict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mlkit_build.errors import StageError

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

LOOKUPS = ("LookupTableFind", "LookupTableFindV2")
TABLE = "HashTableV2"
"""What stands for a table of any kind where its own operator is not known."""


def refuse_tables(needed: Iterable[str], nodes: Mapping[str, NodeDef], original: Mapping[str, NodeDef]) -> None:
    """Refuse a graph whose outputs depend on what a table holds.

    Args:
        needed: The nodes between inputs and outputs.
        nodes: Every node, calls written out.
        original: The graph as its author saved it, whose tensors a recipe can name.

    Raises:
        StageError: There is a lookup; names it, and what to feed instead.
    """
    lookups = [name for name in needed if nodes[name].op in LOOKUPS]
    if not lookups:
        return
    first = nodes[lookups[0]]
    what = "strings" if _type(first, "Tin") == "string" else "values"
    more = f" and {len(lookups) - 1} more" if len(lookups) > 1 else ""
    cut = f'start the model behind the lookup: signature.inputs: {{indices: {{tensor: "{first.name}:0", shape: [1, ...]}}}}'
    if first.name not in original:  # it is inside of a function, whose tensors have no name outside
        cut = "export the model again without it, taking the indices as its input"
    elif _type(first, "Tout") == "string":
        cut = f'end the model before the lookup: signature.outputs: {{indices: {{tensor: "{first.input[1]}"}}}}'
    raise StageError(
        f"freeze: the model looks up {what} in a table ({first.op} {first.name}{more}), which LiteRT has no builtin for, and "
        "what the table holds is not in the graph",
        f"look them up in the app, from the same vocabulary, and {cut}",
    )


def _type(node: NodeDef, attribute: str) -> str:
    from tensorflow import as_dtype

    return str(as_dtype(node.attr[attribute].type).name) if attribute in node.attr else ""
