"""Every rule does what its line says, and no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpus.errors import ConfigError
from crawl.links.config import LinksConfig
from crawl.links.refusal import explain_refusal
from crawl.rules import (
    EXTENSION_RULES,
    HOST_RULES,
    Disposition,
    Preset,
    Rules,
    read_hosts,
    read_subreddits,
)


@pytest.mark.parametrize("preset", Preset)
def test_a_host_rule_holds_for_all_below_it_and_nothing_else(preset: Preset) -> None:
    rules = Rules(preset)
    for rule in HOST_RULES:
        above = {
            r.host: r.disposition
            for r in HOST_RULES
            if preset in r.presets and rule.host.endswith("." + r.host)
        }
        around = next(iter(above.values()), None)  # google.com around video.google.com
        expected = rule.disposition if preset in rule.presets else around
        for host in (rule.host, "www." + rule.host, "a.b." + rule.host, rule.host + "."):
            assert rules.judge_host(host) == expected, host
        assert rules.judge_host("not" + rule.host) == around
        assert rules.judge_host(rule.host + ".example.org") is None


def test_presets_are_the_published_lists(shared: Path) -> None:
    lists = json.loads((shared / "reddit" / "url_exclusion_lists.json").read_text("utf-8"))
    for preset, prefix in ((Preset.OPENWEBTEXT, ""), (Preset.OPENWEBTEXT2, "eukaryote31_")):
        rules = Rules(preset)
        assert set(rules.hosts) - {"redditstatic.com"} == set(lists[prefix + "exclude_domains"])
        extensions = {extension.lstrip(".") for extension in lists[prefix + "exclude_extensions"]}
        assert rules.extensions == extensions - {"tar.gz"}  # .gz has it


def test_the_default_keeps_what_webtext_was_made_of() -> None:
    rules = Rules(Preset.WEBTEXT)
    for host in (
        "www.google.com",
        "docs.google.com",
        "github.com",
        "www.ebay.com",
        "xkcd.com",
        "www.nytimes.com",
    ):
        assert rules.judge_host(host) is None
    for host, disposition in (
        ("en.wikipedia.org", Disposition.WIKIPEDIA),
        ("old.reddit.com", Disposition.INTERNAL),
        ("i.redd.it", Disposition.INTERNAL),
        ("i.imgur.com", Disposition.MEDIA_HOST),
        ("m.youtube.com", Disposition.MEDIA_HOST),
    ):
        assert rules.judge_host(host) is disposition


def test_no_rule_is_written_twice() -> None:
    for preset in Preset:
        hosts = [rule.host for rule in HOST_RULES if preset in rule.presets]
        extensions = [
            e for rule in EXTENSION_RULES if preset in rule.presets for e in rule.extensions.split()
        ]
        assert len(hosts) == len(set(hosts))
        assert len(extensions) == len(set(extensions))


@pytest.mark.parametrize(
    ("path", "is_file"),
    [
        ("/a.jpg", True), ("/a.JPG", True), ("/b/a.tar.gz", True), ("/a%2Epdf", True), ("/a.mp3;jsessionid=1", True),
        ("/", False), ("/a", False), ("/a.html", False), ("/a.php", False), ("/jpg", False), ("/a.jpg/b", False),
        ("/a.jpg/", False), ("/a.b.c", False), ("/2.0", False), ("/character.ai", False), ("/notes.txt", False),
        ("/pdf;v=1.0", False),
    ],
)  # fmt: skip
def test_file_types_are_told_by_the_last_segment(path: str, is_file: bool) -> None:
    assert Rules(Preset.WEBTEXT).judge_path(path) is (Disposition.FILE_TYPE if is_file else None)


def test_block_lists_come_from_files(tmp_path: Path) -> None:
    hosts, subreddits = tmp_path / "hosts.txt", tmp_path / "subreddits.txt"
    hosts.write_text(
        "# shops\nwww.Shop.example\n\n*.ads.example.org # all of them\nmünchen.example\nstraße.example\nimgur.com\n",
        "utf-8",
    )
    subreddits.write_text("r/BadCompany\n/r/other/\nthird\n", "utf-8")
    rules = Rules(Preset.WEBTEXT, read_hosts(str(hosts)), read_subreddits(str(subreddits)))
    for host in (
        "shop.example",
        "a.shop.example",
        "x.ads.example.org",
        "ads.example.org",
        "xn--mnchen-3ya.example",
        "xn--strae-oqa.example",  # as browsers have it, not the older standard's strasse.example
    ):
        assert rules.judge_host(host) is Disposition.BLOCKED_HOST
    assert rules.judge_host("example.org") is None
    assert (
        rules.judge_host("imgur.com") is Disposition.MEDIA_HOST
    )  # the preset's reason is the better one
    for name in ("badcompany", "BADCOMPANY", "Other", "third"):
        assert rules.judge_subreddit(name) is Disposition.BLOCKED_SUBREDDIT
    assert rules.judge_subreddit("good") is None


def test_only_allowed_hosts_stay(tmp_path: Path) -> None:
    path = tmp_path / "allowed.txt"
    path.write_text("docs.example.org\n*.readthedocs.io\nyoutube.com\n", "utf-8")
    rules = Rules(Preset.WEBTEXT, ("bad.docs.example.org",), (), read_hosts(str(path)))
    for host in ("docs.example.org", "v2.docs.example.org", "flask.readthedocs.io"):
        assert rules.judge_host(host) is None
    for host in ("example.org", "mydocs.example.org", "io", "x.bad.docs.example.org", ""):
        assert rules.judge_host(host) is Disposition.BLOCKED_HOST
    # The preset's rules hold below allowed hosts too.
    assert rules.judge_host("youtube.com") is Disposition.MEDIA_HOST

    settings = {"allowed_hosts_file": str(path)}
    refused = explain_refusal("https://other.test/a", settings, None).reason
    assert refused == (
        f"blocked_host: other.test is below no host of crawl.links.allowed_hosts_file {path}"
    )
    path.write_text("# nothing\n")
    with pytest.raises(ConfigError, match="no host in it, so no link could stay"):
        LinksConfig.model_validate(settings).rules()


def test_the_digest_names_what_decides() -> None:
    assert (
        Rules(Preset.WEBTEXT, ("b.org", "a.org")).digest()
        == Rules(Preset.WEBTEXT, ("a.org", "b.org")).digest()
    )
    digests = {
        Rules(Preset.WEBTEXT).digest(),
        Rules(Preset.OPENWEBTEXT).digest(),
        Rules(Preset.WEBTEXT, ("a.org",)).digest(),
        Rules(Preset.WEBTEXT, (), ("a",)).digest(),
        Rules(Preset.WEBTEXT, (), (), ("a.org",)).digest(),
    }
    assert len(digests) == 5


def test_bad_block_lists_are_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("good.example\nhttp://bad.example/\n", "utf-8")
    with pytest.raises(ConfigError, match=r"list\.txt:2: 'http://bad\.example/'"):
        read_hosts(str(path))
    for name in ("ü..example", "a..example", "[::1]", "*.", "xn--a.example", "10.0.0.256"):
        path.write_text(name, "utf-8")
        with pytest.raises(ConfigError, match="is no host name"):
            read_hosts(str(path))
    path.write_text("r/two words\n", "utf-8")
    with pytest.raises(ConfigError, match=r"list\.txt:1: 'r/two words'"):
        read_subreddits(str(path))
    with pytest.raises(ConfigError, match="absent"):
        read_hosts(str(tmp_path / "absent"))
