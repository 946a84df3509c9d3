"""Judges the rows of a dump: a link submission, or the reason why a row is none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from operator import attrgetter

import msgspec
import pyarrow as pa

from corpus.urls import UrlProblem, page_identity, target
from crawl.links import rows, submissions
from crawl.links.config import LinksConfig
from crawl.links.maturity import ScoreStatistics
from crawl.links.submissions import FullSubmission, Number, Parent, Submission, whole_number
from crawl.rules import Disposition

# Distance of rows whose retrieval lag is sampled; of the first ones, every sixteenth is.
LAG_SAMPLE = 1024

MAX_SCORE = (1 << 31) - 1
MAX_CREATED_S = 1 << 32

# Link submissions: the columns carried from the dumps to their pages.
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
        """Judge the rows of `block`, numbered from `first`.

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
    """The posted URL, or that of a crosspost's parent submission.

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
    """Undo the three escapes written by Reddit's API.

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
