"""Secrets in addresses: refused where they are given, and never printed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.credentials import blotted, refuse_credentials
from corpus.errors import InputError
from corpus.run import command
from corpus.storage import conditional_write
from corpus.storage.store import open_store
from corpus.tables.external_files import open_source

SECRET = "wJalrXUtnFEMI"
REFUSED = [
    f"s3://AKIAIOSFODNN7:{SECRET}@bucket/prefix",
    f"s3://AKIAIOSFODNN7:{SECRET}/K7MDENG+b@bucket/prefix",
    f"s3://{SECRET}@bucket/prefix",
    f"S3://{SECRET}@bucket/prefix",
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


MESSAGES = [
    "Generic S3 error: <Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>{}</AWSAccessKeyId></Error>",
    "<Code>SignatureDoesNotMatch</Code><StringToSign>AWS4-HMAC-SHA256\n{}\n1</StringToSign><Host>h</Host>",
    "<SignatureProvided>{}",
    "Authorization: AWS4-HMAC-SHA256 Credential={}/20240501/eu/s3/aws4_request, Signature=ab",
    "header 'Authorization: Bearer {}' was refused",
    "webtext refresh --corpus C --set refresh.webhook=https://chat.example.org/hooks/{} --wait 5m",
    "refresh.heartbeat = 'https://ping.example.org/{}': no answer",
    "cannot post to https://hooks.slack.com/services/T0/B0/{}",
    "cannot post to https://discord.com/api/webhooks/1/{}",
    "https://api.telegram.org/bot1:{}/sendMessage failed",
    "https://b.s3.amazonaws.com/RS.zst?AWSAccessKeyId={}&Expires=1&Signature=ab%2Bc",
    "https://b.s3.amazonaws.com/RS.zst?Expires=1&Signature={}",
    "https://storage.googleapis.com/b/o?X-Goog-Algorithm=A&X-Goog-Signature={}",
    "https://a.blob.core.windows.net/c/RS.zst?sv=2024&sig={}&se=2024",
    "https://d.cloudfront.net/RS.zst?Policy=e&Signature={}&Key-Pair-Id=K",
    "https://api.example.org/dumps?api_key={}",
    "https://api.example.org/dumps?private_token={}&page=2",
    "https://api.example.org/dumps?client_secret={}",
]


@pytest.mark.parametrize("message", MESSAGES)
def test_secrets_of_signed_addresses_answers_and_webhooks_are_blotted(message: str) -> None:
    assert SECRET not in blotted(message.format(SECRET))
    assert "***" in blotted(message.format(SECRET))


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SESSION_TOKEN",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "RAY_AUTH_TOKEN",
        "HF_TOKEN",
        "MINIO_SECRET_KEY",
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_CONNECTION_STRING",
        "MYSQL_PASSWD",
        "WANDB_API_KEY",
        "WEBTEXT_REFRESH__WEBHOOK",
    ],
)
def test_values_of_secret_variables_are_blotted_wherever_they_are_printed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, f"https://x/{SECRET}")
    assert blotted(f"403: https://x/{SECRET} is not known") == "403: *** is not known"


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/key=1?tokens=5&monkey=2&page=3",
        "batch '2024-01' of s3://bucket/c: links.token_counts: 5",
        "https://example.org/hooks/and/services/T0?id=4",
        "refresh.webhook is not set",
        "the bearer of news; basic settings",
    ],
)
def test_other_texts_are_left_alone(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "bucket/c")
    assert blotted(text) == text


@given(
    secret=st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=6),
    scheme=st.sampled_from(["s3", "gs", "https", "http", "abfs"]),
    before=st.sampled_from(["", "cannot write '", "error: ", "a=1 "]),
)
def test_a_password_never_survives(secret: str, scheme: str, before: str) -> None:
    shown = blotted(f"{before}{scheme}://us:{secret}!~@host/p: refused")
    assert shown == f"{before}{scheme}://***@host/p: refused"


# Without a password, a name can only be told from a secret in an address that is refused.
@pytest.mark.parametrize("uri", [uri for uri in REFUSED if f"://{SECRET}@" not in uri])
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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"[default]\naws_access_key_id = A\naws_secret_access_key = a%b\n", {"access_key_id": "A", "secret_access_key": "a%b"}),
        (b"[default]\naws_access_key_id = A\naws_access_key_id = B\n", {"access_key_id": "B"}),
        (b"[other]\naws_access_key_id = A\n", {}),
        (b"aws_access_key_id = A\n", {}),
        (b"[default]\nneither key nor value\n", {}),
        (b"[default]\naws_access_key_id = \xff\n", {}),
    ],
)  # fmt: skip
def test_a_profile_is_read_as_the_sdk_reads_it_or_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, found: dict[str, str]
) -> None:
    (tmp_path / "credentials").write_bytes(text)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    assert conditional_write._profile() == found


@pytest.mark.parametrize(("secret", "blot"), [("abcdefg", False), ("abcdefgh", True)])
def test_a_secret_of_seven_characters_may_be_a_word(
    secret: str, blot: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", secret)
    assert blotted(f"about {secret} here") == ("about *** here" if blot else f"about {secret} here")
