"""A corpus beside a list of domains."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus.errors import InputError
from crawl.domains import coverage, read_list, render


def test_names_of_the_list_are_met_by_labels_or_domains() -> None:
    found = coverage(
        {"nytimes.com": 30, "google.de": 5, "google.com": 5, "nowhere.org": 60},
        {"nytimes": 300, "google": 500, "archive": 150, "bbc.co.uk": 50},
    )
    assert (found.num_listed, found.num_met) == (4, 2)
    assert found.listed_frac == 0.8
    assert found.ours_frac == 0.4
    assert found.missing == (("archive", 150), ("bbc.co.uk", 50))
    assert "archive, bbc.co.uk" in render(found)
    assert coverage({"bbc.co.uk": 1}, {"bbc.co.uk": 2, "bbc": 5}).missing == (("bbc", 5),)
    assert coverage({}, {}).listed_frac == 0


def test_lists_are_read_with_and_without_counts(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# names\n12 Google\nnytimes,7\nbare\n\n99\n5 163\n", "utf-8")
    assert read_list(str(path)) == {"google": 12, "nytimes": 7, "bare": 1, "163": 5}
    path.write_text("1 a b\n", "utf-8")
    with pytest.raises(InputError, match=r"list\.txt:1: '1 a b'"):
        read_list(str(path))


def test_openai_list(shared: Path) -> None:
    listed = read_list(str(shared / "reddit" / "gpt2_webtext_top1000_domains.txt"))
    assert len(listed) == 999  # one of the thousand lines has no name
    assert listed["google"] == 1_542_261
