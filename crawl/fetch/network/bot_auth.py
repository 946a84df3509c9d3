"""Web Bot Auth: requests signed with the crawler's key, for sites to tell it from impostors.

Sources: RFC 9421 (HTTP Message Signatures), with Ed25519 (section 3.3.6); draft-meunier-web-bot-auth
for the components and the tag; RFC 8037 and RFC 7638 for the key and its thumbprint. The operator
puts `key_directory` at `<agent>/.well-known/http-message-signatures-directory`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from corpus.errors import ConfigError

TAG = "web-bot-auth"
# Seconds of validity: limits the use of an intercepted signature.
VALID_S = 300
_COMPONENTS = '("@authority" "signature-agent")'


class BotSigner:
    """Signs requests with one key."""

    def __init__(self, key: Ed25519PrivateKey, agent: str) -> None:
        """`agent` is the address of the site with the key directory, such as https://example.org."""
        self._key = key
        self._agent = f'"{agent}"'
        self._key_id = thumbprint(public_jwk(key))

    def headers(self, url: str, now: float | None = None) -> dict[str, str]:
        """The headers for signing a request for `url`; `now` in Unix seconds."""
        created = int(time.time() if now is None else now)
        parameters = (
            f'{_COMPONENTS};created={created};expires={created + VALID_S};keyid="{self._key_id}"'
            f';alg="ed25519";tag="{TAG}"'
        )
        base = (
            f'"@authority": {authority(url)}\n'
            f'"signature-agent": {self._agent}\n'
            f'"@signature-params": {parameters}'
        )
        signature = base64.b64encode(self._key.sign(base.encode("ascii"))).decode("ascii")
        return {
            "Signature-Agent": self._agent,
            "Signature-Input": f"sig1={parameters}",
            "Signature": f"sig1=:{signature}:",
        }


def load_signer(key_path: str, agent: str) -> BotSigner | None:
    """The signer of the settings; None without a key. Raises ConfigError for an unusable one."""
    if not key_path:
        return None
    key = _load_key(key_path)
    if not agent:
        raise ConfigError(
            "crawl.fetch.bot_auth_agent is empty; name the site with the key directory, such as "
            "https://example.org"
        )
    return BotSigner(key, agent)


def _load_key(key_path: str) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(Path(key_path).read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"crawl.fetch.bot_auth_key is {key_path!r}: {error}; make one with "
            "`openssl genpkey -algorithm ed25519 -out key.pem`"
        ) from error

    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"crawl.fetch.bot_auth_key is {key_path!r}; expected an Ed25519 key")
    return key


def authority(url: str) -> str:
    """The `@authority` component (RFC 9421, 2.2.3): the host in lower case, no default port."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return host if parts.port in (None, default) else f"{host}:{parts.port}"


def public_jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    """The public key as a JSON Web Key (RFC 8037, section 2)."""
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(raw)}


def thumbprint(jwk: dict[str, str]) -> str:
    """The JWK thumbprint, SHA-256 (RFC 7638, section 3)."""
    canonical = json.dumps(jwk, sort_keys=True, separators=(",", ":"))
    return _base64url(hashlib.sha256(canonical.encode()).digest())


def key_directory(key: Ed25519PrivateKey) -> dict[str, Any]:
    """The content of the key directory file."""
    jwk = public_jwk(key)
    return {"keys": [{**jwk, "kid": thumbprint(jwk), "use": "sig"}]}


def write_directory(key_path: str) -> None:
    """Print the key directory file of a key. Raises ConfigError."""
    sys.stdout.write(json.dumps(key_directory(_load_key(key_path)), indent=1) + "\n")


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
