"""What a recipe may state, and what may be shown of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.errors import ConfigError
from mlkit_build.fetch.urls import Location, argument_shown, as_stated, file_name, is_url, redacted, shown

FIELD = "source.path"


@pytest.mark.parametrize("stated", ["https://h/m.pb", "zip://a::m.zip", "tar://a::s3://b/m.tar", "file:///m.pb", "S3://b/m.pb"])
def test_a_protocol_makes_a_url(stated: str) -> None:
    assert is_url(stated)


@pytest.mark.parametrize("stated", ["model/m.pb", "/abs/m.pb", "a::b", "simplecache::https://h/m", "1x://a", "C:/m.pb"])
def test_anything_else_is_a_path(stated: str) -> None:
    assert not is_url(stated)
    assert Location.parse(stated, FIELD) == Location(stated)
    assert shown(stated) == stated


@pytest.mark.parametrize(
    ("stated", "origin", "inside"),
    [
        ("https://h/m.pb", "https://h/m.pb", ()),
        ("tar://ckpt/model.ckpt::https://h/m.tgz", "https://h/m.tgz", (("tar", "ckpt/model.ckpt"),)),
        ("zip:///./export//1/::models/e.zip", "models/e.zip", (("zip", "export/1"),)),
        ("ZIP://::e.zip", "e.zip", (("zip", ""),)),
        ("zip://m.pb::tar://in.zip::s3://b/m.tar", "s3://b/m.tar", (("tar", "in.zip"), ("zip", "m.pb"))),
    ],
)
def test_a_chain_is_read_from_the_file_inwards(stated: str, origin: str, inside: tuple[tuple[str, str], ...]) -> None:
    assert Location.parse(stated, FIELD) == Location(origin, inside)


@pytest.mark.parametrize(
    ("stated", "path"), [("m.pb", "m.pb"), ("file:///a/m.pb", "/a/m.pb"), ("local:///m", "/m"), ("https://h/m", None)]
)
def test_what_is_on_this_machine_has_a_path(stated: str, path: str | None) -> None:
    assert Location.parse(stated, FIELD).path == path


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("zip://export/1", "zip://export/1 names no archive"),
        ("zip://a::tar://b", "tar://b names no archive"),
        ("zip://../../etc::m.zip", "leads out of the archive"),
        ("file://models/m.pb", "not absolute"),
        ("filecache://x::https://user:secret@h/m.pb", "only zip:// and tar:// may be chained"),
        ("https://h/a::b", "only zip:// and tar:// may be chained"),
    ],
)
def test_what_cannot_be_understood_names_the_field_and_no_secret(stated: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Location.parse(stated, FIELD)
    assert caught.value.message.startswith("source.path: ")
    assert message in caught.value.message
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://host/m.pb", "https://host/m.pb"),
        ("https://user:secret@host:8443/m.pb", "https://host:8443/m.pb"),
        ("https://secret@host/m.pb", "https://host/m.pb"),
        ("https://user:se@cret@host/m.pb", "https://host/m.pb"),
        ("https://h/m.pb?X-Amz-Signature=secret&v=2", "https://h/m.pb?X-Amz-Signature=...&v=..."),
        ("https://h/m.pb?secret", "https://h/m.pb?..."),
        ("https://h/m.pb?sig=se=cret", "https://h/m.pb?sig=..."),
        ("https://h/m.pb?sig=a::secret", "https://..."),
        ("https://secret::@host/m.pb", "https://..."),
        ("https://u:se::cret@host/m.pb", "https://..."),
        ("https://h/m.pb#token=secret", "https://h/m.pb#..."),
        ("https://user:pa/secret@host/m.pb", "https://..."),
        ("https://user:12/secret@host/m.pb", "https://..."),
        ("https://user:pa?secret@host/m.pb", "https://..."),
        ("https://[secret/m.pb", "https://..."),
        ("http://localhost:8080/pkg@1.0/m.pb", "http://..."),
        ("https://host/@scope/m@1.pb", "https://host/@scope/m@1.pb"),
        ("s3://key:secret@bucket/a/m.pb", "s3://bucket/a/m.pb"),
        ("tar://ckpt/m@2::https://u:secret@h/m.tar?s=secret", "tar://ckpt/m@2::https://h/m.tar?s=..."),
        ("zip://a?b::models/e.zip", "zip://a?b::models/e.zip"),
    ],
)
def test_what_is_shown_has_no_secret(url: str, expected: str) -> None:
    assert shown(url) == expected


words = st.text("abcdefXYZ0189-_.~%!$'()*+,;:@/?#&=", max_size=12)


@settings(max_examples=1000, deadline=None)
@given(words, words, words)
def test_a_marked_secret_is_never_shown(before: str, after: str, path: str) -> None:
    for url in (f"https://{before}SECRET{after}@host/{path}", f"https://host/m?{before}=SECRET{after}"):
        if "SECRET" in shown(url):  # only where a `/`, `?` or `#` has ended the user part, or a `&` the value
            assert set(before + after) & set("/?#&"), url


def test_other_peoples_messages_lose_their_secrets() -> None:
    text = "404, message='Not Found', url='https://u:secret@h/m?sig=secret' and <http://h/x?y=secret>"
    assert redacted(text) == "404, message='Not Found', url='https://h/m?sig=...' and <http://h/x?y=...>"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/mobilenet.pb?sig=x#y", "mobilenet.pb"),
        ("https://h/a%20b/my%20model.pbtxt", "my_model.pbtxt"),
        ("https://h/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("https://h/..", "file"),
        ("https://h/", "file"),
        ("https://h/.hidden", "hidden"),
        ("s3://b/model.ckpt-100.tar.gz", "model.ckpt-100.tar.gz"),
        ("memory://m.zip", "m.zip"),
        ("https://h/" + "x" * 500 + ".pb", "x" * 97 + ".pb"),
        ("https://h/%E6%A8%A1.pb", "_.pb"),
    ],
)
def test_the_file_keeps_a_name_that_is_safe_anywhere(url: str, name: str) -> None:
    assert file_name(url) == name


@pytest.mark.parametrize(
    ("stated", "path", "text", "expected"),
    [
        ("https://u:p@a.b/m.pb?t=1", "/c/files/m.pb", "/c/files/m.pb is bad", "https://a.b/m.pb?t=... is bad"),
        ("zip://m::m.zip", "/c/files/m", "nothing at /c/files/m, found", "nothing at zip://m::m.zip, found"),
        ("tar://m::https://a.b/m.tar", "/c/f/m", "see /c/f/m/v1?", "see tar://m/v1::https://a.b/m.tar?"),
        ("tar://x/m.ckpt::m.tar", "/c/f/x/m.ckpt", "no /c/f/x/m.ckpt.meta", "no tar://x/m.ckpt.meta::m.tar"),
        ("tar://::m.tar", "/c/f", "at /c/f, or '/c/f/a b'", "at tar://::m.tar, or 'tar://a::m.tar b'"),
    ],
)
def test_a_path_of_the_cache_is_told_as_the_recipe_states_it(stated: str, path: str, text: str, expected: str) -> None:
    assert as_stated(text, path, stated) == expected


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("recipe=mnist", "recipe=mnist"),
        ('source.path="http://u:PW@h:1/m.pb?token=T"', 'source.path="http://h:1/m.pb?token=..."'),
        ("source={path: 'http://u:P) {,W@h/m?t=T', kind: x}", "source={path: 'http://h/m?t=...', kind: x}"),
        (r'source.path="http://u:P\"W@h/m"', 'source.path="http://h/m"'),
        (r"source.path=http://u:P\,W@h/m", "source.path=http://h/m"),
        ("source.path=http://u:P W@h/m", "source.path=http://h/m"),
        ("source.path=zip://a/b::https://u:PW@h/a.zip", "source.path=zip://a/b::https://h/a.zip"),
        ("source.path=http://u:PW@h/a?t=T,http://u:PW@h/b", "source.path=http://h/a?t=...,http://h/b"),
        ("description='see https://u:PW@h/a and https://u:PW@h/b'", "description='see https://h/a and https://h/b'"),
        ("description=it's at http://u:PW@h/m", "description=it's at http://h/m"),
    ],
)
def test_an_argument_is_shown_without_the_secrets_of_its_urls(argument: str, expected: str) -> None:
    assert argument_shown(argument) == expected


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?#@'\"\\"), min_size=1)


@settings(max_examples=100)
@given(
    SECRETS.map(lambda text: f"SECRET{text}SECRET"),
    st.sampled_from(["p='{}'", 'p="{}"', "p={{kind: x, path: '{}'}}", "p=['{}',a]"]),
)
def test_no_password_in_quotes_stands_in_an_argument_that_is_shown(secret: str, form: str) -> None:
    assert "SECRET" not in argument_shown(form.format(f"https://user:{secret}@h/m.pb?token={secret}"))
