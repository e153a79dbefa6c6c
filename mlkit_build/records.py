"""Frozen dataclasses that are made quickly: a build with nothing to do imports two hundred of them, and does little else.

The standard library compiles seven methods for each class, an eighth of such a build. Here each has an `__init__` of its own, and
the other methods in common. Type checkers see the standard library's. A record inherits from records only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["dataclass"]

T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type[T] | None = None, /, *, frozen: bool, kw_only: bool = False) -> Any:
        """Return a class whose instances do not change, are compared and hashed by their fields, and show them.

        Raises:
            TypeError: The fields do not fit together, as `dataclasses.dataclass` says.
        """

        def made(cls: type[T]) -> type[T]:
            assert frozen, f"{cls.__name__}: records do not change"
            cls = dataclasses.dataclass(init=True, repr=False, eq=False, kw_only=kw_only)(cls)
            for name, method in _METHODS.items():
                if name not in cls.__dict__:
                    setattr(cls, name, method)
            return cls

        return made if cls is None else made(cls)


def _setattr(self: Any, name: str, value: Any) -> None:
    """Let `__init__` set each field once."""
    if name in self.__dict__ or name not in self.__dataclass_fields__:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    self.__dict__[name] = value


def _delattr(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, field.name) for field in dataclasses.fields(self) if field.compare)


def _eq(self: Any, other: Any) -> Any:
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


_METHODS: dict[str, Callable[..., Any]] = {
    "__setattr__": _setattr,
    "__delattr__": _delattr,
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
}
