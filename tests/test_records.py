from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from mlkit_build.records import dataclass


@dataclass(frozen=True)
class Point:
    """A point."""

    x: int
    y: int = 0
    tags: tuple[str, ...] = ()
    note: str = dataclasses.field(default="", compare=False, repr=False)
    seen: dict[str, int] = dataclasses.field(default_factory=dict, compare=False)


@dataclass(frozen=True, kw_only=True)
class Named(Point):
    """A point with a name."""

    name: str


@dataclasses.dataclass(frozen=True)
class Plain:
    """What the standard library makes of the same."""

    x: int
    y: int = 0
    tags: tuple[str, ...] = ()


def test_it_is_a_dataclass_for_everybody_else() -> None:
    assert dataclasses.is_dataclass(Point)
    assert [field.name for field in dataclasses.fields(Point)] == ["x", "y", "tags", "note", "seen"]
    assert dataclasses.replace(Point(1), y=3) == Point(1, 3)
    assert dataclasses.asdict(Named(x=1, name="a"))["name"] == "a"
    match Point(4, 5):
        case Point(x, y):
            assert (x, y) == (4, 5)


@pytest.mark.parametrize("name", ["x", "tags", "another"])
def test_no_field_changes_and_none_is_added(name: str) -> None:
    point: Any = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(point, name, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(point, name)
    assert point == Point(1)


def test_equal_fields_are_equal_and_hash_alike_as_in_the_standard_library() -> None:
    assert Point(1, note="a") == Point(1, note="b")
    assert hash(Point(1, note="a")) == hash(Point(1, note="b"))
    assert Point(1) != Point(2)
    assert Point(1) != Named(x=1, name="a")
    assert Point(1) != Plain(1)
    assert (Point(1, 2) == 7) is (Plain(1, 2) == 7) is False
    assert len({Point(1), Point(1), Point(2)}) == 2


def test_it_shows_its_fields_as_the_standard_library_does() -> None:
    assert repr(Plain(1, tags=("a",))).replace("Plain", "Point").replace(")", ", seen={})", 1).startswith("Point(x=1, y=0")
    assert repr(Point(1, tags=("a",))) == "Point(x=1, y=0, tags=('a',), seen={})"


def test_each_instance_has_its_own_default_of_a_factory() -> None:
    assert Point(1).seen is not Point(1).seen


def test_copies_and_pickles_are_equal_and_frozen() -> None:
    for twin in (copy.copy(Point(1, 2)), copy.deepcopy(Point(1, 2)), pickle.loads(pickle.dumps(Point(1, 2)))):
        assert twin == Point(1, 2)
        with pytest.raises(dataclasses.FrozenInstanceError):
            twin.x = 3


def test_what_is_wrong_with_fields_is_said_as_by_the_standard_library() -> None:
    with pytest.raises(TypeError, match="non-default argument"):

        @dataclass(frozen=True)
        class _Wrong:
            x: int = 0
            y: int  # type: ignore[misc]

    with pytest.raises(TypeError, match="missing 1 required"):
        Point()  # type: ignore[call-arg]


def test_own_methods_stay() -> None:
    @dataclass(frozen=True)
    class Own:
        x: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own)

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "own"

    assert Own(1) == Own(2)
    assert (hash(Own(1)), repr(Own(1))) == (7, "own")
