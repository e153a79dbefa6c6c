"""TensorLists, in which functional loops keep their arrays: what shape their elements have.

A list is made with the element shape that its author knew, often with an open batch. What is put into it says more: the shapes of
all elements together are the shape to make it with, and to read it with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from mlkit_build.records import dataclass

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

Shape = tuple[int | None, ...] | None
"""None stands for a size, or for a whole shape, that is unknown."""


@dataclass(frozen=True)
class ListValue:
    """What is known of a TensorList.

    Attributes:
        element: The shape of every element in it; of an empty one, the shape it was declared with.
        length: How many elements it has room for, where that is known.
        empty: Nothing was put into it yet, whatever its length.
        made: The nodes that may have made it, with the calls around them.
    """

    element: Shape
    length: int | None
    empty: bool
    made: frozenset[str]


class Lists(Protocol):
    """What an operator on lists needs of the function that it stands in."""

    def shape(self, item: str) -> Shape:
        """Return the tensor's shape."""

    def said(self, item: str) -> Shape:
        """Return the shape that the tensor holds; one that holds a single number, -1, says nothing."""

    def number(self, item: str) -> int | None:
        """Return the number that the tensor always holds."""

    def held(self, item: str) -> ListValue | None:
        """Return the list, or None for a variant that is not known to be one."""

    def made(self, node: NodeDef, entry: int, declared: Shape) -> str:
        """Note that the node makes a list and that its input `entry` says of what; return the list's origin."""

    def put(self, origins: Collection[str], shape: Shape) -> None:
        """Note that an element of this shape is put into a list of these origins."""

    def settle(self, node: NodeDef, entry: int, shape: Shape) -> None:
        """Let the node's input `entry`, which holds a shape, say this one if it says less now."""

    def settle_count(self, node: NodeDef, count: int | None) -> None:
        """Let the node's attribute `num_elements` say this one if it says none now."""

    def give(self, node: NodeDef, *values: Shape | ListValue) -> None:
        """Set the node's results: a list, or a tensor of this shape."""

    def give_count(self, node: NodeDef, count: int | None) -> None:
        """Set the node's result: a whole number."""


def static(shape: Shape) -> bool:
    """Return whether every size is known."""
    return shape is not None and None not in shape


def joined(one: Shape, other: Shape) -> Shape:
    """Return what holds for tensors of either shape."""
    if one is None or other is None or len(one) != len(other):
        return None
    return tuple(size if size == size_too else None for size, size_too in zip(one, other, strict=True))


def both(one: Shape, other: Shape) -> Shape:
    """Return the shape of a tensor that has both. Raises ValueError where none can."""
    if one is None or other is None:
        return one if other is None else other
    if len(one) != len(other) or any(None not in pair and pair[0] != pair[1] for pair in zip(one, other, strict=True)):
        raise ValueError(f"the shapes {one} and {other} contradict each other")
    return tuple(size if size is not None else size_too for size, size_too in zip(one, other, strict=True))


def joined_lists(one: ListValue, other: ListValue) -> ListValue:
    """Return what holds for either list. An empty one says nothing against the other's elements."""
    if one.empty == other.empty:
        element = joined(one.element, other.element)
    else:
        element = both(one.element, other.element)
    length = one.length if one.length == other.length else None
    return ListValue(element, length, one.empty and other.empty, one.made | other.made)


def _made_empty(lists: Lists, node: NodeDef) -> None:
    declared = lists.said(node.input[0])
    length = lists.number(node.input[1]) if node.op == "TensorListReserve" else 0
    lists.give(node, ListValue(declared, length, True, frozenset({lists.made(node, 0, declared)})))


def _made_of_tensor(lists: Lists, node: NodeDef) -> None:
    """`TensorListFromTensor`, `TensorListScatter`, `TensorListScatterV2`, `TensorListSplit`: a tensor's rows, or runs of them."""
    entry = 2 if node.op.startswith("TensorListScatter") else 1
    rows = lists.shape(node.input[0])
    element = None if rows is None else ((None, *rows[1:]) if node.op == "TensorListSplit" else rows[1:])
    element = both(element, lists.said(node.input[entry]))
    length = rows[0] if rows and node.op == "TensorListFromTensor" else None
    if node.op == "TensorListScatterV2":
        length = lists.number(node.input[3])
    lists.settle(node, entry, element)
    lists.give(node, ListValue(element, length if length is None or length >= 0 else None, False, frozenset()))


def _put(lists: Lists, node: NodeDef) -> None:
    """`TensorListSetItem`, `TensorListPushBack`, `TensorListScatterIntoExistingList`."""
    held = lists.held(node.input[0])
    if node.op == "TensorListScatterIntoExistingList":
        rows = lists.shape(node.input[1])
        item = None if rows is None else rows[1:]
    else:
        item = lists.shape(node.input[1 if node.op == "TensorListPushBack" else 2])
    if held is None:
        lists.give(node, ())
        return
    element = both(held.element, item) if held.empty else joined(held.element, item)
    lists.put(held.made, both(held.element, item) if held.empty else item)
    length = held.length
    if node.op == "TensorListPushBack":
        length = None if length is None else length + 1
    elif node.op != "TensorListSetItem" or node.attr["resize_if_index_out_of_bounds"].b:
        length = None
    lists.give(node, ListValue(element, length, False, held.made))


def _taken(lists: Lists, node: NodeDef) -> None:
    """`TensorListGetItem`, `TensorListStack`, `TensorListGather`, `TensorListPopBack`: what is inside, as tensors."""
    entry = 2 if node.op in ("TensorListGetItem", "TensorListGather") else 1
    held = lists.held(node.input[0])
    element = both(held.element if held else None, lists.said(node.input[entry]))
    lists.settle(node, entry, element)
    if node.op == "TensorListGetItem":
        lists.give(node, element)
    elif node.op == "TensorListPopBack":
        popped = held or ListValue(element, None, False, frozenset())
        lists.give(node, replace(popped, length=popped.length - 1 if popped.length else None), element)
    elif element is None:
        lists.give(node, None)
    elif node.op == "TensorListGather":
        indices = lists.shape(node.input[1])
        lists.give(node, ((indices or (None,))[0], *element))
    else:
        count = node.attr["num_elements"].i if "num_elements" in node.attr else -1
        if count < 0 and held is not None:
            lists.settle_count(node, held.length)
        known = count if count >= 0 else held.length if held else None
        lists.give(node, (known, *element))


def _joined_rows(lists: Lists, node: NodeDef) -> None:
    """`TensorListConcat`, `TensorListConcatV2`: the elements one after the other, and how long each is."""
    held = lists.held(node.input[0])
    element = both(held.element if held else None, lists.said(node.input[1]) if node.op == "TensorListConcatV2" else None)
    if node.op == "TensorListConcatV2":
        lists.settle(node, 1, element)
    lists.give(node, None if element is None else (None, *element[1:]), (held.length if held else None,))


def _measured(lists: Lists, node: NodeDef) -> None:
    held = lists.held(node.input[0])
    lists.give_count(node, held.length if held else None)


def _resized(lists: Lists, node: NodeDef) -> None:
    held = lists.held(node.input[0]) or ListValue(None, None, False, frozenset())
    lists.give(node, replace(held, length=lists.number(node.input[1])))


LIST_OPERATORS: dict[str, Callable[[Lists, NodeDef], None]] = {
    "EmptyTensorList": _made_empty,
    "TensorListReserve": _made_empty,
    "TensorListFromTensor": _made_of_tensor,
    "TensorListScatter": _made_of_tensor,
    "TensorListScatterV2": _made_of_tensor,
    "TensorListSplit": _made_of_tensor,
    "TensorListSetItem": _put,
    "TensorListPushBack": _put,
    "TensorListScatterIntoExistingList": _put,
    "TensorListGetItem": _taken,
    "TensorListPopBack": _taken,
    "TensorListStack": _taken,
    "TensorListGather": _taken,
    "TensorListConcat": _joined_rows,
    "TensorListConcatV2": _joined_rows,
    "TensorListLength": _measured,
    "TensorListResize": _resized,
}
"""What each operator makes of the lists it is given. The others, such as batches of lists, are TensorFlow's to know, and
a list that goes through them is no longer followed."""
