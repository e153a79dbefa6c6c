"""A licence as a recipe states it, in the words of CycloneDX: by its SPDX identifier, as an expression of such, or by name."""

from __future__ import annotations

import re

KNOWN = frozenset(
    {
        "AGPL-3.0-only",
        "AGPL-3.0-or-later",
        "Apache-2.0",
        "Artistic-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC-BY-4.0",
        "CC-BY-NC-4.0",
        "CC-BY-NC-ND-4.0",
        "CC-BY-NC-SA-4.0",
        "CC-BY-ND-4.0",
        "CC-BY-SA-3.0",
        "CC-BY-SA-4.0",
        "CC0-1.0",
        "CDLA-Permissive-1.0",
        "CDLA-Permissive-2.0",
        "CDLA-Sharing-1.0",
        "ECL-2.0",
        "EPL-2.0",
        "EUPL-1.2",
        "GPL-2.0-only",
        "GPL-2.0-or-later",
        "GPL-3.0-only",
        "GPL-3.0-or-later",
        "ISC",
        "LGPL-2.1-only",
        "LGPL-2.1-or-later",
        "LGPL-3.0-only",
        "LGPL-3.0-or-later",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "MS-PL",
        "ODC-By-1.0",
        "ODbL-1.0",
        "OFL-1.1",
        "PDDL-1.0",
        "Unlicense",
        "Zlib",
    }
)
"""Identifiers that models and data are published under (https://spdx.org/licenses/). A list of our own, so that the same recipe
gives the same bytes whatever a library's list holds today; what is not on it is named, which is right for any licence."""
_REFERENCE = re.compile(r"LicenseRef-[A-Za-z0-9.-]+")
_WORDS = re.compile(r"\(|\)|[^\s()]+")


def licence(text: str) -> dict[str, object]:
    """Return an entry of `licenses` for what a recipe states as its licence."""
    if text in KNOWN:
        return {"license": {"id": text}}
    if _is_expression(text):
        return {"expression": text}
    return {"license": {"name": text}}


def _is_expression(text: str) -> bool:
    """Return whether the text is a SPDX expression of licences that are known: `MIT OR (Apache-2.0 AND CC-BY-4.0)`."""
    expects_licence, depth = True, 0
    for word in _WORDS.findall(text):
        if word == "(" and expects_licence:
            depth += 1
        elif word == ")" and not expects_licence and depth:
            depth -= 1
        elif expects_licence and (word in KNOWN or _REFERENCE.fullmatch(word)):
            expects_licence = False
        elif not expects_licence and word in ("AND", "OR"):
            expects_licence = True
        else:
            return False
    return not expects_licence and depth == 0
