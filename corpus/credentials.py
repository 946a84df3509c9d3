"""Credentials in addresses: refused where a URI is given, and blotted out of everything printed.

A URI is repeated in errors, logs, `--json` and webhooks, and in the process list. A secret in it
would reach all of them, so keys come from the environment, a profile or an instance role.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from types import TracebackType

from corpus.errors import InputError

BLOT = "***"

# `name:secret@` before the host. A secret that was not percent-encoded may contain slashes, and
# only a web address may have a port and an `@` further on.
_PASSWORD = re.compile(
    r"(?P<scheme>\b(?:https?|ftp)://)[^\s/@'\"]*@"
    r"|(?P<store>\b(?!https?:|ftp:)[A-Za-z][A-Za-z0-9+.-]*://)[^\s/@:'\"]*:[^\s@'\"]*@"
)
# Parameters that object stores and signed addresses use for secrets. Signatures of versions 2 and 4
# of Amazon and Google, SAS of Azure, CloudFront, and the usual names of web services.
_PARAMETER = re.compile(
    r"(?P<name>[?&;](?:access_key|secret_key|session_token|aws_?[a-z_]*(?:key|token)[a-z_]*"
    r"|x-(?:amz|goog)-(?:signature|credential|security-token)|sig|[a-z_-]*signature|googleaccessid"
    r"|[a-z_-]*(?:token|secret|password|passwd|api_?key)|auth|key|pwd)=)[^&;\s'\"]+",
    re.IGNORECASE,
)
# Paths that are the secret: of settings, and of services that are known for it.
_PATH = re.compile(
    r"(?P<place>\brefresh\.(?:webhook|heartbeat)\b[\s='\":]*https?://[^/\s'\"]+/"
    r"|https://(?:hooks\.slack\.com|discord(?:app)?\.com/api/webhooks|hc-ping\.com"
    r"|api\.telegram\.org|[a-z0-9.-]+\.webhook\.office\.com)/)[^\s'\"]+",
    re.IGNORECASE,
)
# Elements of a store's XML answer, a signed header and a bearer's: errors repeat all of them.
_ANSWER = re.compile(
    r"(?P<tag><(?P<name>AWSAccessKeyId|SignatureProvided|StringToSign|CanonicalRequest|StringToSignBytes"
    r"|CanonicalRequestBytes|Token-0)>).*?(?:</(?P=name)>|\Z)"
    r"|(?P<header>\bAuthorization['\"]?\s*[:=]\s*['\"]?(?:Bearer|Basic|Token)\s+|\bCredential=|\bSignature=)"
    r"[A-Za-z0-9+/=._~-]{8,}",
    re.IGNORECASE | re.DOTALL,
)
# Variables of the environment that hold secrets, and the fewest characters of one: "test" in a
# message is a word.
_SECRET_VARIABLE = re.compile(
    r"(?:SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CONNECTION_STRING|__WEBHOOK|__HEARTBEAT"
    r"|ACCESS_KEY_ID|(?:API|ACCESS|ACCOUNT|PRIVATE|SAS|SECRET|STORAGE)_KEY)\Z"
)
LEAST_SECRET_CHARS = 8


def blotted(text: str) -> str:
    """`text` with credentials replaced by `***`: those in addresses and headers, and the values of
    secret variables of the environment.
    """
    for secret in _secrets():
        text = text.replace(secret, BLOT)

    text = _ANSWER.sub(lambda found: f"{found['tag'] or found['header']}{BLOT}", text)
    if "://" not in text:
        return text

    text = _PASSWORD.sub(lambda found: f"{found['scheme'] or found['store']}{BLOT}@", text)
    text = _PATH.sub(lambda found: f"{found['place']}{BLOT}", text)
    return _PARAMETER.sub(lambda found: f"{found['name']}{BLOT}", text)


def _secrets() -> list[str]:
    """The values of secret variables, longest first: one may be part of another."""
    found = {
        value
        for name, value in os.environ.items()
        if len(value) >= LEAST_SECRET_CHARS and _SECRET_VARIABLE.search(name)
    }
    return sorted(found, key=len, reverse=True)


def refuse_credentials(option: str, uri: str) -> None:
    """Refuse a URI of a store that holds a secret. Raises: InputError, with the secret left out."""
    if "://" not in uri or uri.startswith(("http://", "https://")):
        return

    # `abfs://container@account` and `gs://anonymous@bucket` name no secret.
    if blotted(uri) == uri and not re.match(r"s3://[^/@]*@", uri, re.IGNORECASE):
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


def print_blotted_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print the traceback of a defect without credentials, in place of `sys.excepthook`."""
    print(blotted("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)
