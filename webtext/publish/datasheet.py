"""The datasheet: answers to the questions of Gebru et al. 2021, as far as the tables have them.

Source: "Datasheets for Datasets", section 3. What only the publisher can say is asked for by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from corpus.printable import printable
from webtext.publish.facts import Facts
from webtext.publish.files import Written

Answers = Iterable[tuple[str, str]]
OPEN = "*To be answered by the publisher.*"


def datasheet(
    facts: Facts, written: Written, *, title: str, license_name: str, contact: str
) -> str:
    """The whole datasheet.md."""
    sections: dict[str, Answers] = {
        "Motivation": _motivation(),
        "Composition": _composition(facts, written),
        "Collection process": _collection(facts),
        "Preprocessing, cleaning, labelling": _preprocessing(facts),
        "Uses": _uses(facts),
        "Distribution": [("Under which licence?", f"`{printable(license_name)}`."), ("Who made it, and who pays?", OPEN)],
        "Maintenance": _maintenance(facts, contact),
    }  # fmt: skip
    parts = [f"# Datasheet of {printable(title)}"]
    for name, answers in sections.items():
        parts.append(f"## {name}")
        parts += [f"**{question}** {answer}" for question, answer in answers]
    return "\n\n".join(parts) + "\n"


def _motivation() -> Answers:
    yield (
        "For what purpose was it made?",
        "To train language models on pages that readers of Reddit linked to and voted for, after "
        "the recipe of WebText (Radford et al. 2019).",
    )


def _composition(facts: Facts, written: Written) -> Answers:
    yield (
        "What do the instances represent, and how many are there?",
        f"Web pages as text: {facts.documents:,} documents, {facts.tokens:,} tokens, "
        f"{facts.num_bytes:,} bytes, of {len(facts.domains):,} domains.",
    )

    links = written.rows.get(("links", "train"), 0)
    yield (
        "Is it a sample of a larger set?",
        f"Of {links:,} links that passed the rules on votes and hosts, those whose pages were "
        "fetched, extracted, kept by the filters, and no copies of others. `removed` has each "
        "other page with its reason.",
    )
    yield (
        "What data does each instance consist of?",
        "Text, address, time of the fetch, votes, language and origin; README.md has all columns.",
    )
    yield (
        "Are there recommended splits?",
        "`train` and `validation`, by a hash of the page's identity: a page never changes sides.",
    )
    yield (
        "Are there errors, noise or redundancies?",
        "Extraction keeps menus of some pages and loses passages of others. Near-duplicates below "
        f"the threshold remain; {facts.copied_documents:,} documents had copies, which were removed.",
    )
    yield (
        "Does it contain confidential, offensive or personal content?",
        "Public pages contain all three. E-mail and IP addresses in texts were "
        + ("replaced by examples, names were not." if _personal(facts) else "not replaced."),
    )


def _collection(facts: Facts) -> Answers:
    yield (
        "How was it acquired, and when?",
        f"Fetched from {facts.first_date or 'an unknown time'} to "
        f"{facts.last_date or 'an unknown time'} under robots.txt, at a pace per site and address.",
    )
    said: Counter[str] = Counter()
    for name, count in facts.rights.items():
        said[name or "not asked"] += count
    answers = ", ".join(f"{name} {count:,}" for name, count in sorted(said.items()))
    yield (
        "Did the individuals consent?",
        f"Authors were not asked. Signals of sites and pages about training, by document: {answers}.",
    )


def _preprocessing(facts: Facts) -> Answers:
    yield (
        "Was the data cleaned?",
        f"Yes: README.md has the settings of each stage. {facts.cut_documents:,} documents have "
        "passages cut out, as overlap with test sets or as repeated passages.",
    )
    yield (
        "Is the raw data kept?",
        "The publisher's corpus has the answers of the sites as WARC records.",
    )


def _uses(facts: Facts) -> Answers:
    sets = sorted({row.testset for row in facts.overlap})
    yield (
        "What could make a use unfair or harmful?",
        "Votes of Reddit's readers choose the pages, so their interests and prejudices do as well. "
        "Models repeat what pages say, also what is wrong.",
    )
    yield (
        "Is there a use it is not fit for?",
        "Scores on test sets whose overlap was not removed. Removed were passages of: "
        + (", ".join(printable(name) for name in sets) or "none")
        + ".",
    )
    yield ("Which uses are known?", OPEN)


def _maintenance(facts: Facts, contact: str) -> Answers:
    yield (
        "How can a page be removed?",
        f"Write to {printable(contact)} with its address. It leaves with the next revision.",
    )
    yield (
        "Will it be updated?",
        f"This is snapshot `{facts.snapshot.name}`; later snapshots extend it by further months. "
        "Older revisions stay at the hub unless their history is removed.",
    )


def _personal(facts: Facts) -> bool:
    """True if every batch replaced personal data."""
    documents = [
        tables["documents"] for tables in facts.manifests.values() if "documents" in tables
    ]
    return bool(documents) and all(
        each.config.get("personal", {}).get("replace") for each in documents
    )
