"""Documents weighed by a column: each as often as its value says, in any stream, resumed on any ranks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from corpus.errors import InputError
from shards.reader import BlockStream, PackedStream, WeightedSplit, open_split, weigh
from shards.stream.by_weight import MOST_COPIES
from tests.support.document_corpus import commit_batch, documents, make_shards


@pytest.fixture(scope="module")
def voted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Documents with the votes 0, 4, 8, 8, 12 and 4,000, of which 8 is the median of those above 0."""
    root = str(tmp_path_factory.mktemp("voted") / "corpus")
    docs = documents(120)
    for number, doc in enumerate(docs):
        doc.kept = True
        doc.score = (0, 4, 8, 8, 12, 4000)[number % 6]
    commit_batch(root, "b1", docs)
    make_shards(root, "b1")
    return root


def weighted(root: str) -> WeightedSplit:
    return weigh(open_split(root, "b1", "train"), "score")


def scores() -> dict[str, int]:
    return {doc.doc_id: (0, 4, 8, 8, 12, 4000)[n % 6] for n, doc in enumerate(documents(120))}


def test_a_document_comes_as_often_as_its_value_says(voted: str) -> None:
    split = open_split(voted, "b1", "train")
    found = weighted(voted)
    once = {each.doc_id: each for each in split.documents(0, split.num_tokens)}
    copies = Counter(each.doc_id for each in found.documents(0, found.num_tokens))
    assert copies.keys() == once.keys()
    score = scores()
    values = {value: {copies[name] for name in once if score[name] == value} for value in (0, 4, 8)}
    assert values == {0: {1}, 4: {1}, 8: {1}}
    assert {copies[name] for name in once if score[name] == 4000} == {MOST_COPIES}
    halves = [copies[name] for name in once if score[name] == 12]
    assert set(halves) == {1, 2}  # 1.5 times, rounded by the id
    assert found.num_tokens == sum(
        (each.stop - each.start) * copies[name] for name, each in once.items()
    )
    for each in found.documents(0, found.num_tokens):
        whole = once[each.doc_id]
        assert np.array_equal(
            found.slice(each.start, each.stop), split.slice(whole.start, whole.stop)
        )


def test_blocks_are_the_tokens_of_the_rounds_end_to_end(voted: str) -> None:
    found = weighted(voted)
    tokens = found.slice(0, found.num_tokens)
    assert np.array_equal(
        found.document_ends(), [each.stop for each in found.documents(0, found.num_tokens)]
    )
    starts = np.arange(0, found.num_tokens - 100, 37)[::-1]
    expected = np.stack([tokens[start : start + 100] for start in starts])
    assert np.array_equal(found.read_blocks(starts, 100), expected)
    with pytest.raises(IndexError):
        found.slice(0, found.num_tokens + 1)


@pytest.mark.parametrize("make", [BlockStream, PackedStream])
def test_its_streams_resume_on_other_ranks(
    voted: str, make: type[BlockStream] | type[PackedStream]
) -> None:
    whole = make(weighted(voted), block_size=64, seed=3)
    order = [whole.next_batch(12) for _ in range(2 * whole.num_blocks // 12)]
    first = make(weighted(voted), block_size=64, seed=3)
    for _ in range(5):
        first.next_batch(12, 1, 4)
    later = [make(weighted(voted), block_size=64, seed=9) for _ in range(3)]
    for rank, stream in enumerate(later):
        stream.load_state_dict(first.state_dict())
        for batch in order[5:]:
            share = batch[rank * 4 : rank * 4 + 4]
            assert np.array_equal(stream.next_batch(12, rank, 3), share)


def test_a_packed_epoch_has_every_copy_once(voted: str) -> None:
    found = weighted(voted)
    stream = PackedStream(found, block_size=2000, seed=3)
    seen = [each for index in range(stream.num_blocks) for each in stream.documents(index)]
    whole = found.documents(0, found.num_tokens)
    assert sorted(each.start for each in seen) == [each.start for each in whole]

    # Rows come from pieces looked up for many samples; those of single samples from each piece.
    single = stream.rows(np.arange(stream.num_blocks))
    assert np.array_equal(stream.next_batch(stream.num_blocks), single)


def test_other_values_are_another_split(
    voted: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = str(tmp_path_factory.mktemp("revised") / "corpus")
    docs = documents(120)
    for number, doc in enumerate(docs):
        doc.kept, doc.score = True, number
    commit_batch(root, "b1", docs)
    make_shards(root, "b1")
    state = BlockStream(weighted(voted), block_size=64, seed=3).state_dict()
    with pytest.raises(InputError, match="stream state of snapshot"):
        BlockStream(weighted(root), block_size=64, seed=3).load_state_dict(state)


def test_wrong_columns_are_refused(voted: str) -> None:
    split = open_split(voted, "b1", "train")
    for wrong in ("votes", "url", "published"):
        with pytest.raises(InputError, match=f"'{wrong}': expected a numeric column.*score"):
            weigh(split, wrong)


def test_a_column_without_values_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = str(tmp_path_factory.mktemp("zeros") / "corpus")
    docs = documents(20)
    for doc in docs:
        doc.score = 0
    commit_batch(root, "b1", docs)
    make_shards(root, "b1")
    with pytest.raises(InputError, match="no document of the train split has a value above 0"):
        weighted(root)


def test_copied_documents_come_more_often(tmp_path: Path) -> None:
    """A survivor of two duplicates comes three times, whichever batch they were found in."""
    root = str(tmp_path / "corpus")
    docs, later = documents(60), documents(20, seed=1)
    kept = [doc for doc in docs if doc.kept]
    for doc in docs:
        doc.duplicate_of = None if doc.kept else kept[0].doc_id
    later[3].duplicate_of = later[10].duplicate_of = kept[1].doc_id
    for batch, each in (("b1", docs), ("b2", later)):
        commit_batch(root, batch, each)
        make_shards(root, batch)

    split = open_split(root, "b2", "train")
    found = weigh(split, "duplicates")
    copies = Counter(each.doc_id for each in found.documents(0, found.num_tokens))
    expected = {kept[0].doc_id: MOST_COPIES, kept[1].doc_id: 3}
    for each in split.documents(0, split.num_tokens):
        assert copies[each.doc_id] == expected.get(each.doc_id, 1)
    assert copies.keys() & expected.keys()


def test_blocks_are_fetched_by_where_they_begin(
    voted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of a block may be in another round."""
    split = weighted(voted)
    seen: list[tuple[np.ndarray, int]] = []
    monkeypatch.setattr(split._split, "prefetch", lambda *given: seen.append(given))
    starts = np.array([0, split.num_tokens // 2, split.num_tokens - 1])
    split.prefetch(starts, 4)
    ((places, length),) = seen
    assert length == 1
    found = split._split.read_blocks(places, 1)
    assert found.tolist() == split.read_blocks(starts, 1).tolist()
