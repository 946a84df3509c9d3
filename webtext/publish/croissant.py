"""Croissant 1.1 metadata (https://docs.mlcommons.org/croissant) with fields of responsible AI."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from webtext.publish.documents import MEANING
from webtext.publish.facts import Facts
from webtext.publish.files import Written

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "containedIn": "cr:containedIn",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
TYPES: list[tuple[Any, str]] = [
    (pa.types.is_integer, "sc:Integer"),
    (pa.types.is_floating, "sc:Float"),
    (pa.types.is_boolean, "sc:Boolean"),
    (pa.types.is_date, "sc:Date"),
    (pa.types.is_timestamp, "sc:DateTime"),
]


def croissant(
    facts: Facts,
    written: Written,
    schemas: dict[str, pa.Schema],
    *,
    title: str,
    license_url: str,
    url: str,
    published: str,
) -> str:
    """The whole croissant.json. `published` is a day, as 2024-02-01."""
    archive = {
        "@type": "cr:FileObject",
        "@id": "repository",
        "name": "repository",
        "description": "the folder that this file is in",
        "contentUrl": url,
        "encodingFormat": "git+https",
        "sha256": "https://github.com/mlcommons/croissant/issues/80",
    }

    record = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "name": title,
        "description": f"{facts.documents:,} web pages that readers of Reddit voted for, as text; {facts.tokens:,} tokens",
        "version": "1.0.0",
        "datePublished": published,
        "license": license_url,
        "url": url,
        "citeAs": f"{title}, snapshot {facts.snapshot.digest}",
        "rai:dataCollection": "Outbound links of Reddit submission dumps with a karma of at least the set minimum, fetched by a crawler that obeys robots.txt.",
        "rai:dataCollectionType": ["Web Scraping"],
        "rai:dataCollectionTimeframe": [
            day for day in (facts.first_date, facts.last_date) if day is not None
        ],
        "rai:dataPreprocessingProtocol": [
            "extraction, language and quality rules, near-duplicates, overlap with test sets; settings in README.md"
        ],
        "rai:personalSensitiveInformation": [
            "web pages may name people; take-downs leave with the next revision"
        ],
        "rai:dataLimitations": [
            "pages were chosen by votes of Reddit's readers",
            *(f"the snapshot {remark}" for remark in facts.remarks),
        ],
        "distribution": [archive, *(_files(config, split) for config, split in written.rows)],
        "recordSet": [_records(config, split, schemas[config]) for config, split in written.rows],
    }
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _files(config: str, split: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"files-{config}-{split}",
        "name": f"files-{config}-{split}",
        "containedIn": {"@id": "repository"},
        "encodingFormat": "application/x-parquet",
        "includes": f"data/{config}/{split}-*.parquet",
    }


def _records(config: str, split: str, schema: pa.Schema) -> dict[str, Any]:
    name = f"{config}-{split}"
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{field.name}",
                "name": field.name,
                "description": MEANING.get(field.name, field.name),
                "dataType": _type(field.type),
                **({"isArray": True, "arrayShape": "-1"} if pa.types.is_list(field.type) else {}),
                "source": {
                    "fileSet": {"@id": f"files-{name}"},
                    "extract": {"column": field.name},
                },
            }
            for field in schema
        ],
    }


def _type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        kind = kind.value_type
    return next((name for test, name in TYPES if test(kind)), "sc:Text")
