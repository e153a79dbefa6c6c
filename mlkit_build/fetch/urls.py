"""How a recipe writes where something is: a path, a URL, or `zip://PLACE::` or `tar://PLACE::` before either.

A URL may carry credentials. What is printed or published has gone through `shown` or `redacted`.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from mlkit_build.errors import ConfigError
from mlkit_build.records import dataclass

ARCHIVES = ("zip", "tar")
_LOCAL = ("file", "local")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_ANY_URL = re.compile(_SCHEME.pattern + r"[^\s'\"<>)]*")
_HIDDEN = "..."
_PART = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^'"]+|['"]""", re.DOTALL)
"""What a value is made of: texts in quotes, and what is between them."""
_QUOTED = re.compile(rf"{_SCHEME.pattern}(?:(?!\s{_SCHEME.pattern}|.\Z).)*", re.DOTALL)
_BARE = re.compile(rf"{_SCHEME.pattern}(?:(?!\s{_SCHEME.pattern})(?:[^,{{}}\[\]\\]|\\.))*", re.DOTALL)


@dataclass(frozen=True)
class Location:
    """A file, and the way into it where it is an archive.

    Attributes:
        origin: The URL or the path of the file.
        inside: (`zip` or `tar`, the place within), outermost archive first; an empty place is the whole archive.
    """

    origin: str
    inside: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str | None:
        """The origin as a path of this machine; None when it must be fetched."""
        scheme = protocol(self.origin)
        return self.origin if not scheme else _SCHEME.sub("", self.origin, count=1) if scheme in _LOCAL else None

    @classmethod
    def parse(cls, stated: str, field: str) -> Location:
        """Read what the recipe states.

        Raises:
            ConfigError: It cannot be understood; names `field`.
        """
        links, origin = _links(stated)
        if protocol(origin) in ARCHIVES:
            raise ConfigError(f"{field}: {origin} names no archive", f"write {origin}::ARCHIVE, a path or a URL")
        if is_url(origin) and "::" in origin:
            raise ConfigError(f"{field}: only zip:// and tar:// may be chained with `::`, found {shown(stated)}")
        if protocol(origin) in _LOCAL and not _SCHEME.sub("", origin, count=1).startswith("/"):
            raise ConfigError(f"{field}: {origin} is not absolute", "leave out file://, or write file:///FOLDER/FILE")
        inside = tuple((protocol(link), _place(link, field)) for link in reversed(links))
        return cls(origin, inside)


def is_url(stated: str) -> bool:
    """Return whether this is a URL, chained or not, and no plain path."""
    return _SCHEME.match(stated) is not None


def protocol(stated: str) -> str:
    """Return the URL's protocol in lower case, or an empty string for a plain path."""
    match = _SCHEME.match(stated)
    return match[1].lower() if match else ""


def shown(stated: str) -> str:
    """Return the URL as it may be printed: without user, password, and the values of its query. A path is left as it is."""
    links, origin = _links(stated)
    return "::".join([*links, _without_secrets(origin)])


def redacted(text: str) -> str:
    """Return the text of somebody else's error with every URL in it as it may be printed."""
    return _ANY_URL.sub(lambda match: shown(match[0]), text)


def argument_shown(argument: str) -> str:
    """Return an argument of a command line with every URL in it as it may be printed, wherever in a value it stands.

    In quotes a URL ends with them, whatever is in it; elsewhere where the next value or another URL begins: a password may have
    spaces, and too much that is left out harms nobody.
    """
    return _PART.sub(lambda part: (_QUOTED if part[0][0] in "'\"" else _BARE).sub(lambda url: shown(url[0]), part[0]), argument)


def as_stated(text: str, path: str, stated: str) -> str:
    """Return the text of an error with the URL that the recipe states in place of the path where the cache keeps its file.

    Args:
        text: What was said.
        path: The path that stands for `stated`.
        stated: The URL; what lies beside or below its place in an archive is written as a URL too.
    """
    links, _ = _links(stated)
    if not links:
        return text.replace(path, shown(stated))
    scheme, archive = protocol(stated), shown(stated).partition("::")[2]
    root = path.removesuffix(_place(links[0], "")).rstrip("/")
    return re.sub(rf"{re.escape(root)}(?:/([^\s,:;?'\"()]*))?", lambda match: f"{scheme}://{match[1] or ''}::{archive}", text)


def file_name(url: str) -> str:
    """Return the name of the URL's file, with its suffix, as a file may be called anywhere."""
    name = PurePosixPath(unquote(urlsplit(url).path or urlsplit(url).netloc)).name
    name = re.sub(r"[^\w.+=-]", "_", name, flags=re.ASCII)[-100:].lstrip(".")
    return name or "file"


def _links(stated: str) -> tuple[list[str], str]:
    """Return the links into archives, innermost first, and the origin. It is the origin that may hold secrets."""
    links = []
    while protocol(stated) in ARCHIVES and "::" in stated:
        link, _, stated = stated.partition("::")
        links.append(link)
    return links, stated


def _place(link: str, field: str) -> str:
    parts = PurePosixPath(_SCHEME.sub("", link, count=1).strip("/")).parts
    if ".." in parts:
        raise ConfigError(f"{field}: {link} leads out of the archive", "write the place as the archive lists it")
    return "/".join(parts)


def _without_secrets(url: str) -> str:
    scheme = protocol(url)
    if not scheme or scheme in (*_LOCAL, *ARCHIVES):
        return url
    if "::" in url:
        return f"{scheme}://{_HIDDEN}"  # nothing that can be fetched, and a password may have it
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return f"{scheme}://{_HIDDEN}"  # a slash in a password makes its beginning look like a port, and a bad one,
    if ":" in parts.netloc and "@" in parts.path and "@" not in parts.netloc:
        return f"{scheme}://{_HIDDEN}"  # or a good one
    text = f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.query:
        text += "?" + "&".join(f"{name}={_HIDDEN}" if equals else _HIDDEN for name, equals, _ in _items(parts.query))
    if parts.fragment:
        text += f"#{_HIDDEN}"
    return text


def _items(query: str) -> list[tuple[str, str, str]]:
    return [item.partition("=") for item in query.split("&")]
