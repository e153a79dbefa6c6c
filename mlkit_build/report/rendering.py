"""The templates of this room's pages: what a build names and measured is escaped for HTML, and what is missing is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


def template(name: str, *, trims: bool = False) -> Template:
    """Return the template of a page.

    Args:
        trims: Whether lines with nothing but a statement leave none behind.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mlkit_build.report"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=trims,
        lstrip_blocks=trims,
    )
    return environment.get_template(name)
