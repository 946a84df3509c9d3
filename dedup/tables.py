"""Intermediate tables of the stage, deleted once the verdicts are committed, except `overlap`.

Pages are named by the place of their batch in the order of batches and 16 bytes of id (`ids`).
"""

from __future__ import annotations

import pyarrow as pa

from corpus.tables.schemas import Table
from dedup.doc_ids import BINARY


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


# Grams of the test sets that the batch contains, ascending, how many of its pages do, how many
# that are kept still do after their cuts, and the sets. Batches merge by sum. Passages that were
# met with edits have n = 0 and a key in place of the gram.
OVERLAP = Table(
    name="overlap",
    schema=_schema(
        ngram=pa.uint64(),
        n=pa.int16(),
        num_documents=pa.int32(),
        num_kept=pa.int32(),
        num_groups=pa.int32(),
        exempt=pa.bool_(),
        testsets=pa.list_(pa.string()),
    ),
    version=3,
)

# The same before the verdicts.
MET = Table(
    name="met",
    schema=_schema(
        ngram=pa.uint64(),
        n=pa.int16(),
        num_documents=pa.int32(),
        num_groups=pa.int32(),
        exempt=pa.bool_(),
        testsets=pa.list_(pa.string()),
    ),
    scratch=True,
)

# All grams of the test sets, ascending, with the gram of the first few words of each.
NGRAMS = Table(
    name="test_ngrams",
    schema=_schema(
        ngram=pa.uint64(),
        n=pa.int16(),
        removes=pa.bool_(),
        prefix=pa.uint64(),
        testsets=pa.list_(pa.string()),
    ),
    scratch=True,
)

# Passages of the test sets that are looked for with edits (`near_match.Passages`, starts and ends
# of chunks), and short questions with their answers (`near_match.Pairs`, starts of passages).
PASSAGES = Table(
    name="test_passages",
    schema=_schema(
        is_pair=pa.bool_(),
        words=pa.list_(pa.uint64()),
        weights=pa.list_(pa.int32()),
        starts=pa.list_(pa.int64()),
        ends=pa.list_(pa.int64()),
        keys=pa.list_(pa.uint64()),
    ),
    scratch=True,
)

# Pages that contain removable grams: which, and the character ranges where.
HITS = Table(
    name="hits",
    schema=_schema(
        doc_id=pa.string(),
        num_chars=pa.int32(),
        ngrams=pa.list_(pa.uint64()),
        starts=pa.list_(pa.int32()),
        ends=pa.list_(pa.int32()),
        firsts=pa.list_(pa.int32()),
        afters=pa.list_(pa.int32()),
    ),
    scratch=True,
)

# Grams met in a run of pages, to be summed.
SEEN = Table(
    name="seen",
    schema=_schema(ngram=pa.uint64(), n=pa.int16(), num_documents=pa.int32()),
    scratch=True,
)

# The distinct grams of every page that has some, measured ones included.
MARKS = Table(
    name="overlap_marks",
    schema=_schema(doc_id=pa.string(), ngrams=pa.list_(pa.uint64())),
    scratch=True,
)

# Grams in kept pages after their cuts, to be summed.
LEFT = Table(name="overlap_left", schema=SEEN.schema, scratch=True)

# Grams of pages that are common speech there, so not removed.
EXEMPT = Table(
    name="exempt",
    schema=_schema(doc_id=pa.string(), ngrams=pa.list_(pa.uint64())),
    scratch=True,
)

# What overlap does to the pages that have any.
OVERLAPS = Table(
    name="overlaps",
    schema=_schema(
        doc_id=pa.string(),
        dropped=pa.bool_(),
        testsets=pa.list_(pa.string()),
        overlap_ngrams=pa.int32(),
        cuts=pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())])),
    ),
    scratch=True,
)

# Every page's keys: its bands' and its content's; none for a page that takes no part.
KEYS = Table(
    name="keys",
    schema=_schema(
        doc_id=pa.string(),
        rank=pa.int64(),
        content=BINARY,
        keys=pa.list_(pa.uint64()),
        taken_down=pa.bool_(),
    ),
    scratch=True,
)

# Columns on their way to the buckets of keys.
MEMBERS = _schema(key=pa.uint64(), rank=pa.int64(), doc=BINARY, content=BINARY)

# Pages of this batch to be compared with earlier ones of the order; a pair may come several
# times.
PAIRS = Table(
    name="pairs",
    schema=_schema(
        later=BINARY,
        later_rank=pa.int64(),
        earlier_batch=pa.int32(),
        earlier=BINARY,
        earlier_rank=pa.int64(),
    ),
    scratch=True,
)

# Pages of this batch whose content an earlier page of this batch has.
COPIES = Table(
    name="copies",
    schema=_schema(later=BINARY, later_rank=pa.int64(), first=BINARY, first_rank=pa.int64()),
    scratch=True,
)

# Memberships in large buckets; the rank of pages of earlier batches is not known here (0).
LARGE = Table(
    name="large",
    schema=_schema(
        bucket=pa.uint64(), batch=pa.int32(), doc=BINARY, rank=pa.int64(), leads=pa.bool_()
    ),
    scratch=True,
)

# A page whose shingles are wanted at `home`; `partner_batch` is -1 on rows that name no partner.
WANTED = _schema(
    home=pa.int32(),
    batch=pa.int32(),
    doc=BINARY,
    rank=pa.int64(),
    partner_batch=pa.int32(),
    partner=BINARY,
)

# Shingle sets of candidates, each sent to where it is compared; the later page of a pair brings
# the partners' names.
SHINGLES = Table(
    name="shingles",
    schema=_schema(
        home=pa.int32(),
        batch=pa.int32(),
        doc=BINARY,
        rank=pa.int64(),
        content=BINARY,
        shingles=pa.list_(pa.uint64()),
        partner_batches=pa.list_(pa.int32()),
        partners=pa.list_(BINARY),
    ),
    scratch=True,
)

# Pairs whose exact similarity reaches the threshold, or of which one contains the other.
EDGES = Table(
    name="edges",
    schema=_schema(
        later=BINARY,
        later_rank=pa.int64(),
        earlier_batch=pa.int32(),
        earlier=BINARY,
        earlier_rank=pa.int64(),
        similarity=pa.float64(),
        exact=pa.bool_(),
    ),
    scratch=True,
)

# The task that settles each page, by the first 8 bytes of its id, ascending.
COMPONENTS = Table(
    name="components", schema=_schema(node=pa.uint64(), task=pa.int32()), scratch=True
)

# Verified pairs, equal contents and memberships in large buckets, on their way to these tasks. A
# membership has its page in `earlier`.
RELATED = _schema(
    kind=pa.int8(),
    later=BINARY,
    later_rank=pa.int64(),
    earlier_batch=pa.int32(),
    earlier=BINARY,
    earlier_rank=pa.int64(),
    similarity=pa.float64(),
    exact=pa.bool_(),
    bucket=pa.uint64(),
    leads=pa.bool_(),
)

# Pages that duplicate a kept one or one elsewhere, as the tasks settle them.
CHOICES = Table(
    name="choices",
    schema=_schema(
        doc=BINARY,
        duplicate_of=BINARY,
        similarity=pa.float64(),
        exact=pa.bool_(),
        elsewhere=pa.bool_(),
    ),
    version=2,
    scratch=True,
)

# Pages of this batch that duplicate a kept one.
DECISIONS = Table(
    name="decisions",
    schema=_schema(
        doc_id=pa.string(),
        duplicate_of=pa.string(),
        similarity=pa.float32(),
        exact=pa.bool_(),
        contained=pa.bool_(),
    ),
    scratch=True,
)

# Paragraphs of pages that stay: keys and character ranges.
PARAGRAPHS = Table(
    name="paragraphs",
    schema=_schema(
        doc_id=pa.string(),
        rank=pa.int64(),
        keys=pa.list_(pa.uint64()),
        starts=pa.list_(pa.int32()),
        ends=pa.list_(pa.int32()),
    ),
    scratch=True,
)

# Paragraphs that a page before has, and the pages that lose them.
REPEATED = Table(name="repeated", schema=_schema(key=pa.uint64(), doc=BINARY), scratch=True)

# The same by page.
REPEATS = Table(
    name="repeats", schema=_schema(doc_id=pa.string(), keys=pa.list_(pa.uint64())), scratch=True
)

# Keys of the pages that stay.
KEPT_KEYS = Table(
    name="kept_keys", schema=_schema(doc_id=pa.string(), keys=pa.list_(pa.uint64())), scratch=True
)
