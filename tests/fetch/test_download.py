"""A download is whole and right, or one message says why not. Over real HTTP and S3 on loopback."""

from __future__ import annotations

import logging
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pytest

from mlkit_build.errors import ConfigError, ExitCode, SourceError
from mlkit_build.fetch import Fetcher, download
from tests.fetch.conftest import FIELD, MODEL, Progress, Site, Warnings, files, sha256


def fetch(fetcher: Fetcher, url: str, data: bytes = MODEL) -> bytes:
    return fetcher.local(url, sha256(data), Path("/nowhere"), FIELD).read_bytes()


def refused(fetcher: Fetcher, url: str, data: bytes = MODEL) -> SourceError:
    """Return the error of a fetch that must fail."""
    with pytest.raises(SourceError) as caught:
        fetch(fetcher, url, data)
    assert caught.value.message.startswith("source.path: ")
    assert caught.value.exit_code == ExitCode.CONFIG
    assert caught.value.__suppress_context__ or caught.value.__context__ is None, "a traceback would show the other's text"
    return caught.value


def test_a_file_is_fetched_with_one_request_and_keeps_its_name(site: Site, fetcher: Fetcher) -> None:
    path = fetcher.local(f"{site.url}/model.pb", sha256(MODEL), Path("/nowhere"), FIELD)
    assert path.read_bytes() == MODEL
    assert path.name == "model.pb"
    assert path.stat().st_mode & 0o777 == 0o444
    assert site.asked == {"/model.pb": 1}
    assert site.other_requests == []


def test_progress_begins_at_nothing_and_ends_with_all(site: Site, fetcher: Fetcher, progress: Progress) -> None:
    fetch(fetcher, f"{site.url}/model.pb?token=secret")
    name = f"{site.url}/model.pb?token=..."
    assert progress[0] == (name, 0, len(MODEL))
    assert progress[-1] == (name, len(MODEL), len(MODEL))
    assert [done for _, done, _ in progress] == sorted(done for _, done, _ in progress)


def test_a_file_of_unstated_length_is_fetched(site: Site, fetcher: Fetcher, progress: Progress) -> None:
    assert fetch(fetcher, f"{site.url}/unstated") == MODEL
    assert progress[0][1:] == (0, None)
    assert progress[-1][1:] == (len(MODEL), len(MODEL))


def test_an_empty_file_is_a_file(site: Site, fetcher: Fetcher) -> None:
    assert fetch(fetcher, f"{site.url}/empty", b"") == b""


def test_a_redirect_is_followed(site: Site, fetcher: Fetcher) -> None:
    assert fetch(fetcher, f"{site.url}/moved") == MODEL


def test_the_bytes_are_those_that_are_stored(site: Site, fetcher: Fetcher) -> None:
    """As curl and sha256sum see them: a server that calls a .gz file an encoding does not get it decompressed."""
    import gzip

    data = gzip.compress(MODEL)
    assert fetch(fetcher, site.serve("/m.gz", data, Content_Encoding="gzip"), data) == data
    assert site.headers["Accept-Encoding"] == "identity"


def test_user_and_password_of_the_url_are_used_and_not_shown(site: Site, fetcher: Fetcher, progress: Progress) -> None:
    fetch(fetcher, site.url.replace("//", "//user:secret@") + "/model.pb")
    assert site.headers["Authorization"] == "Basic dXNlcjpzZWNyZXQ="  # base64 of user:secret
    assert "secret" not in str(progress)


def test_a_failure_that_passes_is_tried_again(site: Site, fetcher: Fetcher) -> None:
    assert fetch(fetcher, f"{site.url}/flaky") == MODEL
    assert site.asked["/flaky"] == 3


@pytest.mark.parametrize(
    ("path", "reason", "hint", "requests"),
    [
        ("/none.pb", "it is not there", "check the URL", 1),
        ("/forbidden", r"access denied \(status 403\)", "credentials", 1),
        ("/unauthorized", r"access denied \(status 401\)", "credentials", 1),
        ("/broken", r"the server answered 500 Internal Server Error \(3 attempts\)", "not in the cache", 3),
        ("/teapot", "the server answered 418", "check the URL", 1),
        ("/circle", "too many redirects", "check the URL", 10),
        ("/dropping", r"the connection broke off after \d+ of 256000 bytes \(3 attempts\)", "not in the cache", 3),
        ("/silent", r"the server fell silent after 10 of 256000 bytes \(3 attempts\)", "not in the cache", 3),
    ],
)
def test_a_server_that_fails_is_one_message(
    site: Site, fetcher: Fetcher, cache: Path, monkeypatch: pytest.MonkeyPatch, path: str, reason: str, hint: str, requests: int
) -> None:
    monkeypatch.setattr(download, "SILENCE_SECONDS", 0.2)
    error = refused(fetcher, f"{site.url}{path}?sig=secret")
    assert error.message.startswith(f"source.path: cannot fetch {site.url}{path}?sig=...: ")
    assert re.search(reason, error.message), error.message
    assert hint in error.hint
    assert "secret" not in str(error)
    assert site.asked[path] == requests
    assert files(cache) == []


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/short", "state its new sha256"),  # the length that the server stated is a lie
        ("/empty", "state its new sha256"),
        ("/login", "it is a web page"),
        ("/pointer", "it is a Git LFS pointer"),
    ],
)
def test_another_file_than_was_meant_is_not_kept(site: Site, fetcher: Fetcher, cache: Path, path: str, hint: str) -> None:
    error = refused(fetcher, f"{site.url}{path}")
    assert f"expected sha256 {sha256(MODEL)}, found " in error.message
    assert "nothing was kept" in error.message
    assert hint in error.hint
    assert site.asked[path] == 1
    assert files(cache) == []


def test_without_a_network_the_reason_is_said_at_once(fetcher: Fetcher) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = refused(fetcher, f"http://127.0.0.1:{port}/model.pb")
    assert f"cannot fetch http://127.0.0.1:{port}/model.pb: cannot connect to 127.0.0.1: " in error.message
    assert "refused" in error.message
    assert error.hint.startswith("it is not in the cache")
    error = refused(fetcher, "https://no-such-host.invalid/model.pb")
    assert "cannot connect to no-such-host.invalid: " in error.message
    assert error.hint.startswith("it is not in the cache")


def test_a_certificate_that_nobody_vouches_for_is_refused(fetcher: Fetcher, tmp_path: Path) -> None:
    certificate = tmp_path / "self-signed.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    try:
        subprocess.run([*command, "-keyout", certificate, "-out", tmp_path / "crt"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed: no certificate to refuse")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", certificate)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def shake_hands() -> None:
            connection, _ = server.accept()
            try:
                context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()

        thread = threading.Thread(target=shake_hands)
        thread.start()
        error = refused(fetcher, f"https://127.0.0.1:{server.getsockname()[1]}/model.pb")
        thread.join()
    assert "certificate verify failed" in error.message


def test_the_log_shows_no_secret(site: Site, fetcher: Fetcher, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        fetch(fetcher, f"{site.url}/model.pb?sig=hush")
    assert "hush" not in caplog.text


def test_the_users_own_settings_of_fsspec_are_used(site: Site, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.config.conf, "http", {"client_kwargs": {"headers": {"Authorization": "Bearer abc"}}})
    fetch(fetcher, f"{site.url}/model.pb")
    assert site.headers["Authorization"] == "Bearer abc"
    assert site.headers["Accept-Encoding"] == "identity"


def test_memory_stays_bounded(site: Site, fetcher: Fetcher) -> None:
    data = os.urandom(1 << 20) * 32
    url = site.serve("/large.pb", data)
    tracemalloc.start()
    try:
        path = fetcher.local(url, sha256(data), Path("/nowhere"), FIELD)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size == len(data)
    assert peak < 12 << 20


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's file system in memory, empty."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_any_protocol_of_fsspec_will_do(fetcher: Fetcher, progress: Progress, memory: Any) -> None:
    memory.pipe("/models/model.pb", MODEL)
    assert fetch(fetcher, "memory://models/model.pb") == MODEL
    assert progress[0] == ("memory://models/model.pb", 0, len(MODEL))
    assert fetch(fetcher, "MEMORY://models/model.pb") == MODEL


def test_a_missing_object_and_a_folder_say_so(fetcher: Fetcher, memory: Any) -> None:
    memory.pipe("/export/1/saved_model.pb", MODEL)
    assert "it is not there" in refused(fetcher, "memory://none").message
    assert "zip://PLACE::URL" in refused(fetcher, "memory://export/1").hint


def test_an_error_that_nobody_thought_of_is_told_without_secrets(fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    class OddError(Exception):
        pass

    def fail(*_: Any, **__: Any) -> Any:
        raise OddError("at s3://key:secret@bucket/m?x=secret")

    monkeypatch.setattr(fsspec.core, "url_to_fs", fail)
    assert refused(fetcher, "memory://m").message == "source.path: cannot fetch memory://m: OddError: at s3://bucket/m?x=..."


def test_an_unknown_protocol_suggests_another(fetcher: Fetcher) -> None:
    with pytest.raises(ConfigError, match=r"source.path: unknown protocol htps:// in htps://h/m.pb") as caught:
        fetch(fetcher, "htps://user:secret@h/m.pb")
    assert "https" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "module", "hint"),
    [
        ("s3://b/m.pb", "s3fs", 'pip install "mlkit-build[s3]"'),
        ("gs://b/m.pb", "gcsfs", 'pip install "mlkit-build[gcs]"'),
        ("abfs://b/m.pb", "adlfs", "adlfs"),
    ],
)
def test_a_protocol_whose_package_is_missing_names_it(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch, url: str, module: str, hint: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(sys.modules["fsspec.registry"], "_registry", {})
    monkeypatch.setattr(sys.modules["fsspec.registry"], "registry", {})
    with pytest.raises(ConfigError, match=f"source.path: {url} needs a package that is not installed") as caught:
        fetch(fetcher, url)
    assert hint in caught.value.hint


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket `models` on an S3 server on loopback."""
    for package in ("s3fs", "moto", "flask", "flask_cors"):
        pytest.importorskip(package, reason=f"{package} is not installed: nothing is fetched from S3")
    import boto3  # type: ignore[import-untyped]
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="models")
    yield client
    server.stop()


def test_an_object_of_s3_is_fetched_and_a_missing_one_told(
    bucket: Any, fetcher: Fetcher, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_object(Bucket="models", Key="a/model.pb", Body=MODEL)
    assert fetch(fetcher, "s3://models/a/model.pb") == MODEL
    assert progress[0] == ("s3://models/a/model.pb", 0, len(MODEL))
    assert "it is not there" in refused(fetcher, "s3://models/a/none.pb").message
    assert "it is not there" in refused(fetcher, "s3://none/none.pb").message
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    error = refused(fetcher, "s3://models/a/none.pb")
    assert "there are no credentials" in error.message
    assert "FSSPEC_S3_ANON" in error.hint


def test_a_signed_url_is_fetched_with_the_one_request_it_allows(bucket: Any, fetcher: Fetcher, warnings: Warnings) -> None:
    bucket.put_object(Bucket="models", Key="a b/model+1.pb", Body=MODEL)
    signed = bucket.generate_presigned_url("get_object", {"Bucket": "models", "Key": "a b/model+1.pb"})
    assert fetch(fetcher, signed) == MODEL
    assert warnings == []


def test_an_answer_that_is_an_error_leaves_no_word_of_its_connection_on_stderr(site: Site, tmp_path: Path) -> None:
    """In a process of its own, whose end collects what was left open; the body is long, so that it is not read by then."""
    import subprocess
    import sys

    url = site.serve("/long", b"x" * 1_000_000, 404)
    text = (
        "from pathlib import Path; from mlkit_build.errors import SourceError; from mlkit_build.fetch.download import download\n"
        f"try: download({url!r}, Path('file'), '0' * 64, 'source.path', lambda *_: None)\n"
        "except SourceError as error: print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"source.path: cannot fetch {url}: it is not there\n"
    assert done.stderr == ""


def test_a_server_that_is_not_there_is_told_for_ftp_too(fetcher: Fetcher) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "cannot connect: Connection refused" in refused(fetcher, f"ftp://127.0.0.1:{port}/model.pb").message
