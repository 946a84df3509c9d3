"""Secrets in addresses: refused where they are given, and never printed."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.credentials import blotted, refuse_credentials
from corpus.errors import InputError
from corpus.run import command
from corpus.storage.store import open_store
from corpus.tables.external_files import open_source

SECRET = "wJalrXUtnFEMI"
REFUSED = [
    f"s3://AKIAIOSFODNN7:{SECRET}@bucket/prefix",
    f"s3://AKIAIOSFODNN7:{SECRET}/K7MDENG+b@bucket/prefix",
    f"s3://{SECRET}@bucket/prefix",
    f"s3://bucket/prefix?access_key=AK&secret_key={SECRET}",
    f"s3://bucket/prefix?region=x&session_token={SECRET}",
    f"abfs://user:{SECRET}@account.dfs.core.windows.net/c",
    f"abfss://container@account.dfs.core.windows.net/c?sig={SECRET}",
    f"hdfs://user:{SECRET}@host:8020/c",
]
ACCEPTED = [
    "s3://bucket/prefix",
    "s3://bucket/prefix?region=eu-west-1&endpoint_override=localhost:9000&scheme=http",
    "gs://anonymous@bucket/c",
    "abfs://container@account.dfs.core.windows.net/c",
    "/data/a@b:c",
    "file:///data/a:b@c/d",
]


@pytest.mark.parametrize("uri", REFUSED)
def test_a_uri_with_a_secret_is_refused_without_repeating_it(uri: str) -> None:
    for call in (
        lambda: open_store(uri),
        lambda: open_source(uri, "--dumps"),
        lambda: refuse_credentials("refresh.dumps", uri),
    ):
        with pytest.raises(InputError, match="credentials in a URI are refused") as caught:
            call()
        assert SECRET not in str(caught.value)
        assert "***" in str(caught.value)


@pytest.mark.parametrize("uri", ACCEPTED)
def test_other_uris_are_left_alone(uri: str) -> None:
    refuse_credentials("--corpus", uri)
    assert blotted(uri) == uri


@given(
    secret=st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=6),
    scheme=st.sampled_from(["s3", "gs", "https", "http", "abfs"]),
    before=st.sampled_from(["", "cannot write '", "error: ", "a=1 "]),
)
def test_a_password_never_survives(secret: str, scheme: str, before: str) -> None:
    shown = blotted(f"{before}{scheme}://us:{secret}!~@host/p: refused")
    assert shown == f"{before}{scheme}://***@host/p: refused"


# Without a password, a name can only be told from a secret in an address that is refused.
@pytest.mark.parametrize("uri", [uri for uri in REFUSED if not uri.startswith(f"s3://{SECRET}@")])
@pytest.mark.parametrize("kind", [InputError, OSError, None])
def test_errors_logs_and_the_line_to_repeat_are_blotted(
    uri: str,
    kind: type[Exception] | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def body(argv: Sequence[str] | None) -> int:
        logging.getLogger("webtext").warning("reading %s", uri)
        try:
            raise ValueError(uri)
        except ValueError:
            logging.getLogger("webtext").exception("failed")
        if kind is None:
            raise KeyboardInterrupt
        raise kind(f"cannot reach {uri}")

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        assert command.run_command(body, ["--corpus", uri], stage="webtext.status") in (1, 2, 130)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    printed = capsys.readouterr().err
    assert "***" in printed
    assert SECRET not in printed
