"""The templates of this room, in which a value that no filter has made safe is escaped for Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlkit_build.formats.escaping import Verbatim, code_span, kotlin, markdown, one_line, swift


def render(template: str, values: Mapping[str, Any]) -> bytes:
    """Return the file that a template makes of the values."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mlkit_build.formats"),
        undefined=StrictUndefined,
        finalize=_safe,
        keep_trailing_newline=True,
    )
    environment.filters.update(code=code_span, kotlin=kotlin, swift=swift, text=markdown, line=_line)
    text: str = environment.get_template(template).render(**values)
    return text.encode("utf-8")


def _safe(value: Any) -> Any:
    if isinstance(value, (Verbatim, int, float)):
        return value
    if isinstance(value, str):
        return markdown(value)
    raise TypeError(f"a template shows a {type(value).__name__}")


def _line(text: object) -> Verbatim:
    """Return the text for a comment that ends with its line."""
    return Verbatim(one_line(str(text)))
