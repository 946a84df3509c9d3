"""The part of the report on extraction: shares of the visible words kept in documents."""

from __future__ import annotations

from collections.abc import Mapping

from clean.kept_share import CLASSES, UNUSUAL, class_label, count_name
from webtext.reports.charts import bar, escaped


def section(counts: Mapping[str, int]) -> str:
    """The distribution as bars, and the documents far below the usual share of their domain.

    `counts` are those of the manifest of `documents`. Empty if there is none of a share.
    """
    found = {name: counts.get(count_name(name), 0) for name in CLASSES}
    most = max(found.values())
    if not most:
        return ""

    rows = "".join(
        f"<tr><th>{escaped(class_label(name))}</th><td class=n>{count:,}</td>"
        f"<td class=w>{bar(count, most)}</td></tr>"
        for name, count in found.items()
    )
    unusual = counts.get(UNUSUAL, 0)
    warning = (
        f"<p class=warning>{unusual:,} documents keep less than a third of what is usual for "
        "their domain.</p>"
        if unusual
        else ""
    )

    return (
        f"<h3>Kept words of those that the page shows</h3>{warning}<table class=bars>{rows}</table>"
    )
