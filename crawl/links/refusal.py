"""Explanation of refusals: the links stage's rule for leaving out an address, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from corpus.errors import ConfigError
from corpus.urls import UrlProblem, host_identity, target
from crawl.links.config import LinksConfig
from crawl.rules import EXTENSION_RULES, HOST_RULES, Disposition, Rules, read_hosts, read_subreddits


class Refusal(NamedTuple):
    """The judgement of the links stage about an address."""

    reason: str | None
    """The rule that refuses it, in words; None if none does."""
    doubt: str | None
    """The reason why the batch may have been built with other rules than today's; None if not."""


def explain_refusal(
    url: str, settings: Mapping[str, Any] | None, made_under: str | None = None
) -> Refusal:
    """Find the rule for refusing an address.

    `settings` are `[crawl.links]` of a batch's manifest, and `made_under` is the digest of its
    rules; None means the defaults.
    """
    config = LinksConfig.model_validate(settings or {})
    rules, doubt = _rules_now(config, made_under)
    return Refusal(_reason(url, config, rules), doubt)


def _rules_now(config: LinksConfig, made_under: str | None) -> tuple[Rules, str | None]:
    """The rules as far as they can be read, and changes of their files since then."""
    lists: list[tuple[str, ...]] = []
    lost = []
    for read, path in (
        (read_hosts, config.blocked_hosts_file),
        (read_subreddits, config.blocked_subreddits_file),
        (read_hosts, config.allowed_hosts_file),
    ):
        try:
            lists.append(read(path) if path else ())
        except ConfigError:
            lists.append(())
            lost.append(f"the list {path} can no longer be read, and is left out")

    rules = Rules(config.preset, *lists)
    if lost:
        return rules, "; ".join(lost)
    if made_under is None or rules.digest() == made_under:
        return rules, None

    files = [
        path
        for path in (
            config.blocked_hosts_file,
            config.blocked_subreddits_file,
            config.allowed_hosts_file,
        )
        if path
    ]
    return rules, f"the rules are others now: {' or '.join((*files, 'the program'))} has changed"


def _reason(url: str, config: LinksConfig, rules: Rules) -> str | None:
    if len(url) > config.max_url_chars:
        return (
            f"{Disposition.URL_TOO_LONG}: {len(url):,} characters, "
            f"crawl.links.max_url_chars = {config.max_url_chars:,}"
        )

    page = target(url)
    if isinstance(page, UrlProblem):
        return {
            "bad_url": "bad_url: a WHATWG parser refuses it",
            "not_http": "not_http: its scheme is not http or https",
        }[page.value]
    if (disposition := rules.judge_host(page.host)) is not None:
        return _host_reason(page.host, disposition, config, rules)
    if (disposition := rules.judge_path(page.path)) is not None:
        return _path_reason(page.path, disposition, config.preset)

    return None


def _host_reason(host: str, disposition: Disposition, config: LinksConfig, rules: Rules) -> str:
    labels = host_identity(host).key
    listed = False
    while labels:
        for rule in HOST_RULES:
            if rule.host == labels and config.preset in rule.presets:
                return f"{disposition}: {rule.host} and all below it ({rule.why}; preset {config.preset})"
        listed = listed or labels in rules.hosts
        labels = labels.partition(".")[2]

    if not listed:
        return (
            f"{disposition}: {host} is below no host of crawl.links.allowed_hosts_file "
            f"{config.allowed_hosts_file}"
        )
    return (
        f"{disposition}: {host} is below a host of crawl.links.blocked_hosts_file "
        f"{config.blocked_hosts_file}"
    )


def _path_reason(path: str, disposition: Disposition, preset: Any) -> str:
    extension = path.rpartition("/")[2].partition(";")[0].rpartition(".")[2].lower()
    for rule in EXTENSION_RULES:
        if extension in rule.extensions.split() and preset in rule.presets:
            return f"{disposition}: the path ends in .{extension} ({rule.why}; preset {preset})"
    return f"{disposition}: the path ends like a file"
