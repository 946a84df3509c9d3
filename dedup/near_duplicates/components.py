"""Connected components of pages, and the task that settles each.

Pages are connected by verified pairs, by equal content and by large buckets. A page is compared
with connected pages only, so components are settled independently of each other.
"""

from __future__ import annotations

import numpy as np

from corpus.compiled_registry import example
from dedup import doc_ids
from dedup.words import mix

# Buckets are nodes beside the pages.
_BUCKET_SALT = np.uint64(0xBB67AE8584CAA73B)


def page_nodes(doc: np.ndarray) -> np.ndarray:
    """The node of each page: the first 8 bytes of its id.

    Pages of equal ones count as connected, which costs time only. Shapes (n,) S16 to (n,) uint64.
    """
    return doc_ids.bytes_to_hashes(doc)[:, 0]


def bucket_nodes(bucket: np.ndarray) -> np.ndarray:
    """The node of each bucket. Shapes (n,) uint64 to (n,) uint64."""
    return mix(bucket ^ _BUCKET_SALT)


def tasks_of(
    pairs: np.ndarray,
    members: np.ndarray,
    num_tasks: int,
    pages_per_task: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(nodes, ascending; the task of each).

    Components without a large bucket are spread over all tasks. Those with one need the texts of
    their pages, which lie in all parts of the batch: they fill as few tasks as `pages_per_task`
    allows.

    Shapes: pairs (n, 2) uint64 connected nodes, members (m,) uint64 pages of large buckets.
    """
    from dedup import kernels

    nodes, place = np.unique(pairs.ravel(), return_inverse=True)
    label = np.arange(nodes.size)
    kernels.unite(label, place.reshape(-1, 2))

    task = doc_ids.part_of_prefix(nodes[label], num_tasks)
    if members.size:
        component = label[np.searchsorted(nodes, np.unique(members))]
        heavy, num_pages = np.unique(component, return_counts=True)
        # The largest first; nodes break ties, since `label` ascends with them.
        order = np.argsort(-num_pages, kind="stable")
        before = np.cumsum(num_pages[order]) - num_pages[order]
        task_of = np.zeros(nodes.size, np.int64)
        task_of[heavy[order]] = before // pages_per_task % num_tasks
        is_heavy = np.zeros(nodes.size, bool)
        is_heavy[heavy] = True
        task = np.where(is_heavy[label], task_of[label], task)

    return nodes, task.astype(np.int32)


@example
def _unite_two_pages() -> None:
    nodes = np.arange(2, dtype=np.uint64)
    tasks_of(nodes.reshape(1, 2), nodes, 1, 1)
