"""Official files of the test sets used for scores: names, digests, sources and licences.

Nothing is downloaded or shipped here: the files belong to their makers, under the licences named.
Other files are refused, because scores on a changed set are not comparable. `--allow-altered`
scores them with a note in the result. Digests are of the unpacked file; .gz, .bz2 and .zst are
unpacked when read.

The overlap filter of dedup reads the same files through `corpus.evaluation_sets.files`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import zstandard

from corpus.errors import InputError
from corpus.evaluation_sets import llm_foundry
from corpus.evaluation_sets.files import read_bytes


@dataclass(frozen=True, slots=True)
class OfficialSet:
    """One set, as published."""

    name: str
    title: str
    files: tuple[str, ...]
    """Names of the file without a packer's suffix; the first is the official one."""
    digest: str | None
    """`<algorithm>:<hex digits>` of the unpacked file.

    None if its makers publish none and we have not seen the file.
    """
    source: str
    """Origin of the official file."""
    licence: str
    format: str
    """Description of a record, for messages."""
    folder: str = ""
    """Part of the folder's name, if several sets have files of the same name."""


_JSON_LINES = "a JSON object a line with "
SETS = {
    each.name: each
    for each in (
        OfficialSet(
            "lambada", "LAMBADA (OpenAI's variant, test)", ("lambada_test.jsonl",),
            "sha256:4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226",
            "openaipublic.blob.core.windows.net/gpt-2/data/lambada_test.jsonl", "CC BY 4.0", _JSON_LINES + "text",
        ),
        OfficialSet(
            "wsc273", "Winograd Schema Challenge, 273 schemas", ("winograd_wsc.jsonl",),
            "sha256:746336c27cd2e39a554cb1b8b4869d0f1ae2577ac5bfe799842d26bca5a5bf5e", "github.com/mosaicml/llm-foundry, local_data/language_understanding", "CC BY 4.0",
            _JSON_LINES + "context_options, continuation, gold",
        ),
        OfficialSet(
            "cbt_cn", "Children's Book Test, common nouns (validation)", ("cbtest_CN_valid_2000ex.txt",), None,
            "research.facebook.com: The bAbI project, CBTest.tgz", "GFDL 1.3, books in the public domain",
            "21 numbered lines a question, the last with XXXXX, answer and choices behind tabs",
        ),
        OfficialSet(
            "cbt_ne", "Children's Book Test, named entities (validation)", ("cbtest_NE_valid_2000ex.txt",), None,
            "research.facebook.com: The bAbI project, CBTest.tgz", "GFDL 1.3, books in the public domain",
            "21 numbered lines a question, the last with XXXXX, answer and choices behind tabs",
        ),
        OfficialSet(
            "wikitext2", "WikiText-2 (test)", ("wiki.test.tokens", "wiki.test.tokens.txt"),
            "sha256:d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
            "github.com/pytorch/examples, word_language_model/data/wikitext-2 (wikitext-2-v1.zip of Salesforce)",
            "CC BY-SA 3.0", "tokenized text", "wikitext2",
        ),
        OfficialSet(
            "wikitext103", "WikiText-103 (test)", ("wiki.test.tokens", "wiki.test.tokens.txt"),
            "sha256:56db52eb157b1ab5c89646eef70510c1eca6e12a3bfdb99f0d6b05b4eacb75b9",
            "wikitext-103-v1.zip of Salesforce", "CC BY-SA 3.0", "tokenized text", "wikitext103",
        ),
        OfficialSet(
            "ptb", "Penn Treebank for language models (test)", ("ptb.test.txt",),
            "sha256:dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
            "www.fit.vut.cz/person/imikolov: simple-examples.tgz", "LDC: local use only", "tokenized text",
        ),
        OfficialSet(
            "1bw", "One Billion Words (held out)",
            ("news.en.heldout-00000-of-00050", "1b_benchmark.test.tokens"), None,
            "www.statmt.org/lm-benchmark: 1-billion-word-language-modeling-benchmark-r13output.tar.gz",
            "WMT news; Apache-2.0 tools", "a tokenized sentence a line",
        ),
        OfficialSet(
            "enwik8", "enwik8 (last 5 MB)", ("enwik8",), "sha1:57b8363b814821dc9d47aa4d41f58733519076b2",
            "mattmahoney.net/dc/enwik8.zip", "CC BY-SA 3.0", "100,000,000 bytes of Wikipedia's XML",
        ),
        OfficialSet(
            "text8", "text8 (last 5 MB)", ("text8",), "md5:3bea1919949baf155f99411df5fada7e",
            "mattmahoney.net/dc/text8.zip", "CC BY-SA 3.0", "100,000,000 characters a-z and space",
        ),
        OfficialSet(
            "hellaswag", "HellaSwag (validation)", ("hellaswag_val.jsonl",),
            "sha256:0aa3b88843990f3f10a97b9575c94d7b71fb2205240ba04ae4884d9e9c992588",
            "github.com/rowanz/hellaswag, data/hellaswag_val.jsonl", "MIT",
            _JSON_LINES + "activity_label, ctx_a, ctx_b, endings, label",
        ),
        OfficialSet(
            "coqa", "CoQA (dev)", ("coqa-dev-v1.0.json",),
            "sha256:dfa367a9733ce53222918d0231d9b3bedc2b8ee831a2845f62dfc70701f2540a",
            "nlp.stanford.edu/data/coqa/coqa-dev-v1.0.json", "several, by source of the stories",
            "a JSON object with data: story, questions, answers, additional_answers",
        ),
        OfficialSet(
            "cnn_dm", "CNN/Daily Mail 3.0.0 (test)", ("cnn_dailymail_test.jsonl",), None,
            "huggingface.co/datasets/abisee/cnn_dailymail, 3.0.0, as JSON lines", "Apache-2.0 scripts, articles of their papers",
            _JSON_LINES + "article, highlights",
        ),
        OfficialSet(
            "wmt14_en_fr", "WMT-14 English to French (newstest2014)", ("newstest2014.en-fr.tsv",), None,
            "www.statmt.org/wmt14: test-full.tgz, as lines", "WMT: research use", "English, a tab, French a line",
        ),
        OfficialSet(
            "wmt14_fr_en", "WMT-14 French to English (newstest2014)", ("newstest2014.en-fr.tsv",), None,
            "www.statmt.org/wmt14: test-full.tgz, as lines", "WMT: research use", "English, a tab, French a line",
        ),
        OfficialSet(
            "nq", "Natural Questions, open (dev)", ("NQ-open.dev.jsonl",), None,
            "github.com/google-research-datasets/natural-questions, nq_open", "CC BY-SA 3.0",
            _JSON_LINES + "question, answer (a list)",
        ),
        # The makers publish no digest of these files.
        *(
            OfficialSet(
                name, name, (file,), None,
                llm_foundry.SOURCE, llm_foundry.LICENCE, llm_foundry.FORMAT,
            )
            for name, file in llm_foundry.FILES.items()
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SetFile:
    """A set's file on disk."""

    official: OfficialSet
    path: Path
    data: bytes
    """Unpacked."""
    digest: str
    """sha256 of the unpacked bytes."""
    is_official: bool | None
    """True if the digest is the official one; None if that is unknown."""


def open_set(name: str, path: Path, *, allow_altered: bool = False) -> SetFile:
    """Read a set's file and check its digest.

    Raises: InputError for an unknown set, a missing or an altered file.
    """
    official = SETS.get(name)
    if official is None:
        raise InputError(f"test set {name!r}: unknown; known: {', '.join(SETS)}")

    try:
        data = read_bytes(path)
    except (OSError, EOFError, zstandard.ZstdError) as error:
        raise InputError(f"{_missing(official)}: {path}: {error}") from error

    genuine: bool | None = None
    if official.digest is not None:
        algorithm, _, expected = official.digest.partition(":")
        found = hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
        genuine = found == expected
        if not genuine and not allow_altered:
            raise InputError(
                f"test set {name} ({path}): not the official file: {algorithm} {found}, expected {expected}; "
                f"the official one: {official.source}; --allow-altered scores this one and notes it"
            )

    return SetFile(official, path, data, hashlib.sha256(data).hexdigest(), genuine)


def find_set(name: str, folder: Path) -> Path | None:
    """The file of a set below `folder` under one of its names, packed or not, or None."""
    official = SETS[name]
    wanted = {
        f"{file}{packer}" for file in official.files for packer in ("", ".gz", ".bz2", ".zst")
    }
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.name in wanted
        and official.folder in path.parent.name.replace("-", "").replace("_", "")
        and path.is_file()
    ]

    return found[0] if found else None


def _missing(official: OfficialSet) -> str:
    expected = f", {official.digest}" if official.digest else ""
    return f"test set {official.name}: expected {official.files[0]}{expected} ({official.format}) from {official.source}"


def missing(name: str, folder: Path) -> InputError:
    """Make the error of a set without a file below `folder`."""
    return InputError(f"{_missing(SETS[name])}; no such file below {folder}")
