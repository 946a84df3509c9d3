"""Web Bot Auth: signatures that a server verifies by RFC 9421, and RFC 8037's own key."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from corpus.errors import ConfigError
from crawl.fetch.network import bot_auth
from tests.crawl.loopback import Shard, Web

# RFC 8037, appendix A.1 to A.3.
RFC_8037_D = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC_8037_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
RFC_8037_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(RFC_8037_D + "="))


def verify(headers: dict[str, str], host: str) -> None:
    """As a server does: rebuild the signature base from the request."""
    parameters = headers["signature-input"].removeprefix("sig1=")
    base = f'"@authority": {host}\n"signature-agent": {headers["signature-agent"]}\n'
    base += f'"@signature-params": {parameters}'
    found = re.fullmatch(r"sig1=:([A-Za-z0-9+/=]+):", headers["signature"])
    assert found is not None
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(RFC_8037_X + "="))
    public.verify(base64.b64decode(found[1]), base.encode())


def pem(folder: Path) -> str:
    path = folder / "key.pem"
    path.write_bytes(
        key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(path)


def test_the_key_of_rfc_8037() -> None:
    (entry,) = bot_auth.key_directory(key())["keys"]
    assert entry["x"] == RFC_8037_X
    assert entry["kid"] == RFC_8037_THUMBPRINT


def test_a_signature_holds_for_its_host_alone() -> None:
    signer = bot_auth.BotSigner(key(), "https://bot.example")
    made = signer.headers("https://Example.org:443/a?b", now=1_700_000_000)
    headers = {name.lower(): value for name, value in made.items()}
    verify(headers, "example.org")
    with pytest.raises(InvalidSignature):
        verify(headers, "other.example")
    assert ";created=1700000000;expires=1700000300;" in headers["signature-input"]
    assert headers["signature-input"].endswith('tag="web-bot-auth"')


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a.test:8080/x", "a.test:8080"),
        ("http://a.test:80/", "a.test"),
        ("https://[2001:DB8::1]/", "[2001:db8::1]"),
    ],
)
def test_the_authority(url: str, expected: str) -> None:
    assert bot_auth.authority(url) == expected


def test_unusable_settings(tmp_path: Path) -> None:
    assert bot_auth.load_signer("", "") is None
    with pytest.raises(ConfigError, match="bot_auth_agent is empty"):
        bot_auth.load_signer(pem(tmp_path), "")
    (tmp_path / "x.pem").write_text("x")
    with pytest.raises(ConfigError, match="openssl genpkey"):
        bot_auth.load_signer(str(tmp_path / "x.pem"), "https://a.example")


def test_requests_of_a_crawl_are_signed(web: Web, shard: Shard, tmp_path: Path) -> None:
    shard.config |= {"bot_auth_key": pem(tmp_path), "bot_auth_agent": "https://bot.example"}
    shard.crawl(["http://a.test/1"])
    for hit in web.hits:
        lines = dict(line.split(": ", 1) for line in hit.header.split("\r\n")[1:] if line)
        verify({name.lower(): value for name, value in lines.items()}, "a.test")
