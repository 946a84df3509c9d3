"""Credentials in addresses: refused where a URI is given, and blotted out of everything printed.

A URI is repeated in errors, logs, `--json` and webhooks, and in the process list. A secret in it
would reach all of them, so keys come from the environment, a profile or an instance role.
"""

from __future__ import annotations

import logging
import re

from corpus.errors import InputError

BLOT = "***"

# `name:secret@` before the host. A secret that was not percent-encoded may contain slashes, and
# only a web address may have a port and an `@` further on.
_PASSWORD = re.compile(
    r"(?P<scheme>\b(?:https?|ftp)://)[^\s/@'\"]*@"
    r"|(?P<store>\b(?!https?:|ftp:)[A-Za-z][A-Za-z0-9+.-]*://)[^\s/@:'\"]*:[^\s@'\"]*@"
)
# Parameters that object stores and signed addresses use for secrets.
_PARAMETER = re.compile(
    r"(?P<name>[?&;](?:access_key|secret_key|session_token|aws_[a-z_]*(?:key|token)[a-z_]*"
    r"|x-amz-(?:signature|credential|security-token)|sig|signature|token|password)=)[^&;\s'\"]+",
    re.IGNORECASE,
)


def blotted(text: str) -> str:
    """`text` with the credentials of its addresses replaced by `***`."""
    if "://" not in text:
        return text

    text = _PASSWORD.sub(lambda found: f"{found['scheme'] or found['store']}{BLOT}@", text)
    return _PARAMETER.sub(lambda found: f"{found['name']}{BLOT}", text)


def refuse_credentials(option: str, uri: str) -> None:
    """Refuse a URI of a store that holds a secret. Raises: InputError, with the secret left out."""
    if "://" not in uri or uri.startswith(("http://", "https://")):
        return

    # `abfs://container@account` and `gs://anonymous@bucket` name no secret.
    if blotted(uri) == uri and not re.match(r"s3://[^/@]*@", uri):
        return

    shown = re.sub(r"://[^/@:]*@", f"://{BLOT}@", blotted(uri))
    raise InputError(
        f"{option} {shown}: credentials in a URI are refused, since it is repeated in logs and "
        "messages; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE, or use the "
        "instance's role), and leave them out of the URI"
    )


class BlottingFormatter(logging.Formatter):
    """Formats log records without the credentials of addresses, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return blotted(super().format(record))
