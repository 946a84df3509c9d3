"""A table is used only if every table that it was made from is the committed one, whatever was
rebuilt in what order.
"""

from __future__ import annotations

import tempfile
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import InputError, StaleError
from corpus.run import runner
from corpus.run.executors.serial import SerialExecutor
from corpus.run.plan import Run
from corpus.run.runner import run_steps
from corpus.storage.store import Store, open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.manifest import Input, find_manifest, read_manifest, sealed, serialized
from corpus.tables.parquet import write_part
from corpus.tables.schemas import LINKS
from corpus.tables.staleness import Stale, remedy, require_current, stale_among
from tests.support import chained_stages, toy_stage

BATCHES = ("a", "b")
TABLES = {"one": "first", "two": "second", "three": "third"}
UPSTREAM = {"two": ("first",), "three": ("first", "second")}


def commit_links(store: Store, batch: str, score: int) -> None:
    """Commit two links that all have this score."""
    table = toy_stage.links(2, seed=BATCHES.index(batch))
    table = table.set_column(
        table.column_names.index("score"), "score", pa.array([score] * 2, pa.int32())
    )
    part = write_part(store, LINKS.folder(batch), f"part-00000.{score}.parquet", LINKS, [table])
    commit_table(store, LINKS, batch, [part], num_parts=1)


def run_stage(store: Store, stage: str, batch: str, *, rebuild: bool, **config: int) -> None:
    run_steps(
        Run(
            stage=stage,
            config=chained_stages.ChainConfig(**config),
            store=store,
            batch=batch,
            executor=SerialExecutor(),
            num_parts=1,
            rebuild=rebuild,
        ),
        chained_stages.STAGES[stage],
    )


def score_of(store: Store, batch: str) -> int:
    return int(read_manifest(store, "links", batch).parts[0].file.split(".")[1])


def is_true(store: Store, table: str, batch: str) -> bool:
    """True if a table, and all that it was made from, has the values that follow from the committed
    ones.
    """
    if find_manifest(store, table, batch) is None:
        return False
    upstream = {"second": "first", "third": "second"}.get(table)
    if upstream and not is_true(store, upstream, batch):
        return False
    if table == "second" and batch == "b" and find_manifest(store, "second", "a"):
        # Batch b met the earlier batch only if that had this table when b was made.
        met = {(each.table, each.batch) for each in read_manifest(store, table, batch).inputs}
        if ("second", "a") not in met or not is_true(store, "second", "a"):
            return False
    wanted = chained_stages.expected(store, table, batch, score_of(store, batch))
    return chained_stages.values(store, table, batch) == wanted


class KillError(BaseException):
    """Stands for the end of the process."""


def dying_after(commits: int) -> Any:
    """`commit_table` for so many commits."""
    left = [commits]

    def commit(*args: Any, **kwargs: Any) -> Any:
        if left[0] == 0:
            raise KillError
        left[0] -= 1
        return commit_table(*args, **kwargs)

    return commit


ACTIONS = st.one_of(
    st.tuples(st.just("links"), st.sampled_from(BATCHES), st.integers(3, 5)),
    st.tuples(
        st.sampled_from(list(TABLES)),
        st.sampled_from(BATCHES),
        st.fixed_dictionaries(
            {
                "setting": st.integers(0, 1),
                "middle": st.integers(0, 1),
                "rebuild": st.sampled_from((True, True, False)),
                "die_after": st.sampled_from((9, 9, 9, 0, 1, 2)),
            }
        ),
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTIONS, min_size=1, max_size=12))
def test_no_order_of_rebuilds_and_kills_makes_a_table_of_tables_that_do_not_belong_together(
    actions: list[tuple[str, str, Any]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_corpus(f"{folder}/c", create=True)
        for batch in BATCHES:
            commit_links(store, batch, 3)
            for stage, table in TABLES.items():
                run_stage(store, stage, batch, rebuild=False)
                assert is_true(store, table, batch)
        for stage, batch, choice in actions:
            if stage == "links":
                commit_links(store, batch, choice)
            else:
                _act(store, stage, batch, **choice)


def _act(
    store: Store, stage: str, batch: str, setting: int, middle: int, rebuild: bool, die_after: int
) -> None:
    """Run a stage; it must either refuse and be right to do so, or leave tables that belong
    together.
    """
    current = all(is_true(store, table, batch) for table in UPSTREAM.get(stage, ()))
    if stage == "two" and batch == "b":
        current = current and is_true(store, "second", "a")
    config = {TABLES[stage]: setting, **({"middle": middle} if stage == "two" else {})}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "commit_table", dying_after(die_after))
        try:
            run_stage(store, stage, batch, rebuild=rebuild, **config)
        except StaleError:
            assert not current, f"{stage} of {batch} was refused, and its inputs belong together"
            return
        except InputError:
            assert not rebuild  # built with other settings
            return
        except KillError:
            return

    assert current or stage == "one", f"{stage} of {batch} used tables that do not belong together"
    assert is_true(store, TABLES[stage], batch)


@pytest.fixture
def chain(tmp_path: Any) -> Store:
    """Two batches with all three tables."""
    store = open_corpus(str(tmp_path / "c"), create=True)
    for batch in BATCHES:
        commit_links(store, batch, 3)
        for stage in TABLES:
            run_stage(store, stage, batch, rebuild=False)
    return store


def test_a_refusal_names_the_input_and_old_settings_make_all_current_again(chain: Store) -> None:
    run_stage(chain, "one", "a", rebuild=True, first=1)
    with pytest.raises(StaleError, match=r"second of batch 'a' \(first a was rebuilt since\)"):
        run_stage(chain, "three", "a", rebuild=True)
    with pytest.raises(StaleError, match=r"second of batch 'a' \(first a was rebuilt since\)"):
        run_stage(chain, "two", "b", rebuild=True)
    assert stale_among(chain, [("third", "b")]) == [
        Stale("second", "a", "first a was rebuilt since"),
        Stale("second", "b", "second a is stale"),
        Stale("third", "b", "second b is stale"),
    ]

    run_stage(chain, "one", "a", rebuild=True)
    assert stale_among(chain, [("third", batch) for batch in BATCHES]) == []


def test_up_to_date_is_not_said_of_what_is_stale(chain: Store) -> None:
    """A stage that would do nothing is refused as well: it was "up to date" over links that were
    rebuilt.
    """
    commit_links(chain, "a", 5)
    with pytest.raises(StaleError, match=r"first of batch 'a' \(links a was rebuilt since\)"):
        run_stage(chain, "two", "a", rebuild=False)


def test_a_manifest_names_what_passed_through_a_scratch_table(chain: Store) -> None:
    manifest = read_manifest(chain, "second", "b")
    assert {(each.table, each.batch) for each in manifest.inputs} == {
        ("first", "b"),
        ("second", "a"),
    }
    assert manifest.config == {"middle": 0, "second": 0}
    with pytest.raises(InputError, match="two.middle was 0, is now 1"):
        run_stage(chain, "two", "b", rebuild=False, middle=1)


def test_a_gone_table_a_half_replaced_pair_and_another_tokenizer(tmp_path: Any) -> None:
    store = toy_stage.make_corpus(str(tmp_path))

    def put(table: str, print_: str, *inputs: Input) -> None:
        manifest = read_manifest(store, "links", "b").model_copy(
            update={
                "table": table,
                "fingerprint": print_,
                "inputs": list(inputs),
                "details": {"step": f"step of {table[:6]}"},
                "parts": [],
            }
        )
        store.write_bytes(f"{table}/b/_manifest.json", serialized(sealed(manifest)))

    put("verdicts", "v")
    put("tokens", "t", Input(table="verdicts", batch="b", fingerprint="v"))
    require_current(store, [("tokens", "b")], "a test")

    store.write_json("tokenizer/source.json", {"fingerprint": "new"})
    put("tokens", "t", Input(table="tokenizer", batch="", fingerprint="old"))
    with pytest.raises(StaleError, match="the tokenizer changed"):
        require_current(store, [("tokens", "b")], "a test")

    put("tokens", "t", Input(table="verdicts", batch="b", fingerprint="v"))
    store.delete("verdicts/b/_manifest.json")
    with pytest.raises(StaleError, match=r"verdicts b is gone.*`webtext shards --corpus"):
        require_current(store, [("tokens", "b")], "a test")

    put("documents", "new")
    put("documents_dropped", "old")
    with pytest.raises(StaleError, match="of another run: a rebuild was interrupted"):
        require_current(store, [("documents", "b")], "a test")


def test_an_imported_batch_is_imported_again(tmp_path: Any) -> None:
    """The advice was to read dumps, which it has none of."""
    store = toy_stage.make_corpus(str(tmp_path))
    made = read_manifest(store, "links", "b")
    inputs = [Input(table="warc", batch="x.warc.gz", fingerprint="1")]
    for named, option in ((inputs, "--warc"), ([], "--dumps")):
        changed = made.model_copy(update={"inputs": named})
        store.write_bytes("links/b/_manifest.json", serialized(sealed(changed)))
        assert remedy(store, [Stale("links", "b", "")]) == (
            f"`webtext crawl --corpus {store.root} --batch b {option} FILE ... --rebuild`"
        )


def test_a_chain_of_many_batches_needs_no_recursion(tmp_path: Any) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    for number in range(1500):
        inputs = [Input(table="bands", batch=f"b{number - 1}", fingerprint=f"{number - 1}")]
        manifest = read_manifest(store, "links", "b").model_copy(
            update={
                "table": "bands",
                "batch": f"b{number}",
                "fingerprint": f"{number}",
                "inputs": inputs if number else [],
                "sequence": number,
            }
        )
        store.write_bytes(f"bands/b{number}/_manifest.json", serialized(manifest))
    assert stale_among(store, [("bands", "b1499")]) == []
    store.delete("bands/b0/_manifest.json")
    assert len(stale_among(store, [("bands", "b1499")])) == 1499
