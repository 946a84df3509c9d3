"""Selects a dump's submissions with a link to a page.

`read_dump` gives every row of a dump exactly one disposition and passes the link submissions on in
batches; `group.group` makes rows of `links` from all submissions of a set of pages. Between them is
an exchange by `doc_id`, so no table of all pages is ever in memory.

There are two karma rules. `webtext` (the GPT-2 paper): a submission counts if its own score reaches
`min_score`, so others are dropped while reading. `openwebtext2`: a page counts if the scores of all
its submissions add up to `min_score`, so all of them pass and the group decides. A crosspost
represents its original: it takes its URL if it has none, and under `webtext` its score if higher.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import BinaryIO, Literal

import msgspec
import pyarrow as pa
from msgspec.structs import astuple
from pydantic import Field

from corpus.config import Section
from corpus.errors import InputError
from corpus.urls import UrlProblem, page_identity, target
from crawl.links import rows, submissions
from crawl.links.containers import READ_BYTES
from crawl.links.maturity import ImmatureScoresError, ScoreStatistics, immature
from crawl.links.submissions import FullSubmission, Number, Parent, Submission, whole_number
from crawl.rules import Disposition, Preset, Rules, read_hosts, read_subreddits

log = logging.getLogger(__name__)

# Link submissions per batch: some 3 MB of Arrow, and 6 MB before that.
BATCH_ROWS = 8_000

# Distance of rows whose retrieval lag is sampled; of the first ones, every sixteenth is.
LAG_SAMPLE = 1024

# Dispositions that show a dump of submissions: some row of any such dump has one.
KNOWS_WHERE = (
    Disposition.KEPT, Disposition.SELF_POST, Disposition.INTERNAL, Disposition.MEDIA_HOST, Disposition.WIKIPEDIA, Disposition.BLOCKED_HOST, Disposition.FILE_TYPE,
    Disposition.URL_TOO_LONG, Disposition.BAD_URL, Disposition.NOT_HTTP, Disposition.PROMOTED, Disposition.OVER_18,
)  # fmt: skip

MAX_SCORE = (1 << 31) - 1
MAX_CREATED_S = 1 << 32

# Link submissions: the columns that travel from the dumps to their pages.
SUBMISSIONS = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("url_key", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("score", pa.int32(), nullable=False),
        pa.field("submission_id", pa.string(), nullable=False),
        pa.field("subreddit", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("created", pa.timestamp("s", tz="UTC"), nullable=False),
        pa.field("over_18", pa.bool_(), nullable=False),
    ]
)


class LinksConfig(Section):
    """Settings that select submissions."""

    outside_identity = frozenset(
        (
            "allow_truncated",
            "allow_immature_scores",
            "carry_over",
            "blocked_hosts_file",
            "blocked_subreddits_file",
        )
    )
    """Fields that do not affect the output, or are covered by inputs: the files of the block lists
    by `rules`, the pages carried over by the `pages` of earlier batches."""

    preset: Preset = Preset.WEBTEXT
    """Hosts and file types to skip: webtext (the GPT-2 paper's), openwebtext or openwebtext2 (the clones' lists)."""
    karma_rule: Literal["webtext", "openwebtext2"] = "webtext"
    """webtext: each submission needs min_score; openwebtext2: the sum of a page's submissions does.
    """
    min_score: int = Field(default=3, ge=0)
    """Karma that admits a link; 3 in the GPT-2 paper."""
    crosspost_score: Literal["max", "own"] = "max"
    """Under the webtext rule a crosspost counts with the higher of its own and its parent's score, or its own."""
    over_18: Literal["drop", "keep"] = "drop"
    """Submissions marked not safe for work.

    WebText blocked such subreddits by a list that is not published.
    """
    removed: Literal["keep", "drop"] = "keep"
    """Submissions removed or deleted later; known since 2019-09, so WebText could not tell."""
    blocked_hosts_file: str = ""
    """File of hosts to skip, one a line, each with all below it; none by default."""
    blocked_subreddits_file: str = ""
    """File of subreddits to skip, one a line; none by default."""
    max_url_chars: int = Field(default=4096, ge=64)
    """Longest URL; dumps have some of 500,000 characters."""
    allow_truncated: bool = False
    """Continue with the readable rows of a truncated dump."""
    allow_immature_scores: bool = False
    """Continue although the scores of a dump were taken too early."""
    retry_failed: bool = False
    """Link pages again whose fetch failed in an earlier batch for a passing reason, or ended at a
    bot wall or a consent wall.
    """
    carry_over: bool = False
    """Add the pages that earlier batches left at their deadline, with the karma they had."""
    num_parts: int = Field(default=0, ge=0)
    """Parts of the batch's tables; 0: by the size of the dumps."""

    def without_effect(self) -> dict[str, str]:
        """The score of crossposts, unless submissions count one by one."""
        if self.karma_rule == "webtext":
            return {}
        return {"crosspost_score": f"crawl.links.karma_rule = {self.karma_rule!r} adds up scores"}

    def rules(self) -> Rules:
        """The preset with the block lists, which are read here.

        Raises: ConfigError for a bad list.
        """
        hosts = read_hosts(self.blocked_hosts_file) if self.blocked_hosts_file else ()
        subreddits = (
            read_subreddits(self.blocked_subreddits_file) if self.blocked_subreddits_file else ()
        )
        return Rules(self.preset, hosts, subreddits)


class LinkSubmission(msgspec.Struct, frozen=True, gc=False):
    """A row of SUBMISSIONS; `created` in seconds since 1970, UTC.

    Not a named tuple: tens of thousands wait for their batch, and the garbage collector would visit
    them again and again.
    """

    doc_id: str
    url: str
    url_key: str
    domain: str
    score: int
    submission_id: str
    subreddit: str
    title: str
    created: int
    over_18: bool


# --- reading -------------------------------------------------------------------------------------------------------


def read_dump(
    raw: BinaryIO,
    *,
    name: str,
    config: LinksConfig,
    counts: Counter[str],
    on_progress: Callable[[int], None] | None = None,
    statistics: ScoreStatistics | None = None,
    read_bytes: int = READ_BYTES,
) -> Iterator[pa.RecordBatch]:
    """Yield the link submissions of a dump in batches of about BATCH_ROWS (SUBMISSIONS).

    Every row read adds one to exactly one Disposition in `counts`, before the batch that holds it is
    given, so the caller may take counts between batches. `statistics` collects the scores,
    `on_progress` receives numbers of rows, and `raw` is read `read_bytes` at a time.

    Raises: TruncatedDump behind the last batch of a truncated file, unless `allow_truncated`;
    UnreadableDump if reading fails, with any options; ImmatureScoresError at the end, unless
    `allow_immature_scores`; InputError if the file is not a dump.
    """
    judge = Judge(config)
    statistics = ScoreStatistics() if statistics is None else statistics
    reader = rows.open_rows(raw, read_bytes=read_bytes)
    pending: list[LinkSubmission] = []
    dispositions: Counter[str] = Counter()

    try:
        for block in reader.blocks():
            judged = judge.block(block, reader.num_rows - block.num_rows, pending, statistics)
            dispositions.update(judged)
            counts.update(judged)
            if on_progress is not None:
                on_progress(block.num_rows)
            if len(pending) >= BATCH_ROWS:
                yield _batch(pending)
                pending.clear()
    except rows.TruncatedDump as error:
        if pending:
            yield _batch(pending)
        if not config.allow_truncated:
            raise rows.TruncatedDump(
                error.byte_offset, error.row_number, f"{name}: {error.cause}"
            ) from error
        statistics.truncated = True
        log.warning(
            "%s: kept the %d rows before byte %d: %s",
            name,
            error.row_number,
            error.byte_offset,
            error.cause,
        )
    else:
        if pending:
            yield _batch(pending)
    assert dispositions.total() == reader.num_rows, (name, dispositions, reader.num_rows)
    _require_a_dump(name, dispositions)
    verdict = immature(name, statistics)
    if verdict is not None and not config.allow_immature_scores:
        raise ImmatureScoresError(str(verdict))


def _require_a_dump(name: str, dispositions: Counter[str]) -> None:
    """Refuse files of other kinds: a web page saved under a dump's name, a table, a dump of
    comments.
    """
    bad, total = dispositions[Disposition.BAD_JSON], dispositions.total()
    if bad and (
        bad + dispositions[Disposition.BLANK] == total or (total >= 100 and bad * 2 > total)
    ):
        raise InputError(
            f"{name}: {bad:,} of {total:,} rows are no JSON objects; expected a Reddit submission dump, one object a line"
        )
    if dispositions[Disposition.NO_URL] >= 100 and not any(
        dispositions[disposition] for disposition in KNOWS_WHERE
    ):
        raise InputError(
            f"{name}: none of {total:,} rows has a URL or is a self post; expected a Reddit submission dump (RS_...), "
            "not one of comments (RC_...)"
        )


def _batch(found: list[LinkSubmission]) -> pa.RecordBatch:
    columns = [
        pa.array(values, field.type)
        for values, field in zip(zip(*map(astuple, found), strict=True), SUBMISSIONS, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SUBMISSIONS)


class Judge:
    """Judges rows under one config."""

    def __init__(self, config: LinksConfig) -> None:
        self.config = config
        self._rules = config.rules()
        self._per_submission = config.karma_rule == "webtext"
        self._use_parents = self._per_submission and config.crosspost_score == "max"

    def block(
        self,
        block: rows.RowBlock,
        first: int,
        found: list[LinkSubmission],
        statistics: ScoreStatistics,
    ) -> Counter[str]:
        """Judge the rows of `block`, which begins with row number `first`.

        Append links to `found`.
        """
        dispositions: list[Disposition] = []
        scores: list[Number] = []
        for index, seen in enumerate(submissions.decode_block(block)):
            if seen is None:
                dispositions.append(_disposition_of_no_object(block.row(index)))
                continue
            outcome = self.judge(seen)
            if outcome is None:
                full = submissions.decode_fully(block.row(index))
                assert full is not None
                outcome = self.judge(full)
            if type(outcome) is LinkSubmission:
                found.append(outcome)
                outcome = Disposition.KEPT
            assert type(outcome) is Disposition
            dispositions.append(outcome)
            if outcome is not Disposition.PROMOTED:
                scores.append(seen.score)
        statistics.add_scores(scores)
        for index in _sample(first, block.num_rows):
            if dispositions[index] is not Disposition.PROMOTED:
                _count_lag(submissions.decode_fully(block.row(index)), statistics)
        return Counter(map(_VALUE, dispositions))

    def judge(self, row: Submission) -> LinkSubmission | Disposition | None:
        """The link of a submission, or its disposition; None if only a FullSubmission can tell."""
        if row.promoted or row.is_created_from_ads_ui:
            return Disposition.PROMOTED
        if row.is_self:
            return Disposition.SELF_POST
        if row.is_self is None:
            if not isinstance(row, FullSubmission):
                return None
            if (row.domain or "").startswith("self."):
                return Disposition.SELF_POST
        score = self._score(row)
        if score is None:
            return Disposition.NO_SCORE
        if self._per_submission and score < self.config.min_score:
            return Disposition.LOW_KARMA
        if self._is_over_18(row) and self.config.over_18 == "drop":
            return Disposition.OVER_18
        return self._rules.judge_subreddit(row.subreddit) or self._posted_link(row, score)

    def _posted_link(self, row: Submission, score: int) -> LinkSubmission | Disposition | None:
        submission_id, text = row.id, _posted_url(row)
        if not submission_id or not text or self.config.removed == "drop":
            if not isinstance(row, FullSubmission):
                return None
            if row.removed_by_category and self.config.removed == "drop":
                return Disposition.REMOVED
            submission_id = submission_id or (row.name or "").removeprefix("t3_")
        created = whole_number(row.created_utc)
        if not submission_id or created is None or not 0 < created < MAX_CREATED_S:
            return Disposition.BAD_FIELDS
        if not text:
            assert isinstance(row, FullSubmission)
            # Galleries and videos of the months without URLs (2022-08 and -09) lie on Reddit.
            return Disposition.INTERNAL if row.is_gallery or row.is_video else Disposition.NO_URL
        return self._link(text, row, submission_id, score, created)

    def _score(self, row: Submission) -> int | None:
        score = whole_number(row.score)
        if self._use_parents and row.crosspost_parent_list:
            scores = [whole_number(parent.score) for parent in row.crosspost_parent_list]
            return max((s for s in (score, *scores) if s is not None), default=None)
        return score

    def _is_over_18(self, row: Submission) -> bool:
        """The submission's flag; a parent whose score counts brings its flag as well."""
        if self._use_parents and row.crosspost_parent_list:
            return bool(row.over_18) or any(parent.over_18 for parent in row.crosspost_parent_list)
        return bool(row.over_18)

    def _link(
        self, text: str, row: Submission, submission_id: str, score: int, created: int
    ) -> LinkSubmission | Disposition:
        if text.startswith("/") and not text.startswith("//"):
            return Disposition.INTERNAL
        if len(text) > self.config.max_url_chars:
            return Disposition.URL_TOO_LONG

        page = target(text)
        if isinstance(page, UrlProblem):
            return Disposition(page.value)
        disposition = self._rules.judge_host(page.host) or self._rules.judge_path(page.path)
        if disposition is not None:
            return disposition

        identity = page_identity(page)
        return LinkSubmission(
            identity.doc_id,
            page.url,
            identity.url_key,
            identity.domain,
            max(-MAX_SCORE, min(score, MAX_SCORE)),
            submission_id,
            row.subreddit or "",
            unescaped(row.title or ""),
            created,
            self._is_over_18(row),
        )


_VALUE = attrgetter("_value_")  # plain strings: the hash of an Enum member is computed in Python


def _disposition_of_no_object(row: bytes) -> Disposition:
    if len(row) >= rows.MAX_ROW_BYTES:
        return Disposition.ROW_TOO_LONG
    return Disposition.BAD_JSON if row.strip() else Disposition.BLANK


def _posted_url(row: Submission) -> str:
    """The posted URL, or that of the submission that a crosspost repeats.

    Empty if there is none.
    """
    text = row.url_overridden_by_dest or row.url
    if text is None or not (text := text.strip()):
        text = next(_other_urls(row), "")
    return unescaped(text)


def _other_urls(row: Submission) -> Iterator[str]:
    sources: list[Submission | Parent] = [row, *(row.crosspost_parent_list or ())]
    for source in sources:
        for text in (source.url_overridden_by_dest, source.url):
            if text and not text.isspace():
                yield text.strip()


_ESCAPES = {"&amp;": "&", "&lt;": "<", "&gt;": ">"}
_ESCAPE = re.compile("|".join(_ESCAPES))


def unescaped(text: str) -> str:
    """Undo the three escapes that Reddit's API writes.

    Older dumps have them, newer ones do not; complete references with a semicolon mean the same in
    both. All other references of HTML (`&copy`, `&section`) are parameters: `?a=1&copy=2`.
    """
    return _ESCAPE.sub(lambda match: _ESCAPES[match.group()], text) if "&" in text else text


def _sample(first: int, num_rows: int) -> Iterator[int]:
    """Indices of the sampled ones among `num_rows` rows from row number `first` on.

    The same rows are sampled for any division into blocks.
    """
    step = 16 if first < LAG_SAMPLE else LAG_SAMPLE
    for number in range(-(-first // step) * step, first + num_rows, step):
        if number < LAG_SAMPLE or number % LAG_SAMPLE == 0:
            yield number - first


def _count_lag(submission: FullSubmission | None, statistics: ScoreStatistics) -> None:
    if submission is None:
        return
    later: tuple[Number, ...] = (
        submission.meta.retrieved_2nd_on if submission.meta else None,
        submission.retrieved_on,
        submission.retrieved_utc,
    )
    created = whole_number(submission.created_utc)
    retrieved = next((second for second in map(whole_number, later) if second is not None), None)
    if created is not None and retrieved is not None and 0 < created <= retrieved < MAX_CREATED_S:
        statistics.add_lag(created, retrieved)
