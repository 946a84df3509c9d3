"""A capture as a page of the batch: its checks, its record, its rights and its outcome."""

from __future__ import annotations

from corpus.rights.rows import signal_row
from corpus.rights.statements import ADDRESSED_TO_ALL, answer, refusals
from crawl.captures.dead_links import DeadLink
from crawl.captures.record import CaptureError, FetchedCapture
from crawl.config import CrawlConfig
from crawl.fetch.permission.robots_meta import is_tagged
from crawl.outcomes import Outcome, Reason
from crawl.rights.page import read_response
from crawl.warc import records, writer
from crawl.warc.archives import archive_name
from crawl.warc.body import content_encodings, decode_body
from crawl.warc.kind import content_kind
from crawl.warc.writer import SegmentWriter


def check_capture(capture: FetchedCapture) -> None:
    """Refuse a capture without a usable page. Raises CaptureError."""
    response = capture.response
    if not response.payload:
        raise CaptureError(f"{capture.source}: an empty page")
    if len(response.payload) > records.MAX_BODY_BYTES // 2:
        raise CaptureError(f"{capture.source}: a page of {len(response.payload):,} bytes")
    encoded = response.header("content-encoding")
    if not encoded and content_kind(response.header("content-type"), response.payload) is None:
        raise CaptureError(f"{capture.source}: neither HTML nor text")


def store_capture(
    config: CrawlConfig,
    segment: SegmentWriter,
    link: DeadLink,
    capture: FetchedCapture,
    *,
    attempts: int,
) -> Outcome:
    """Write a capture into a segment and return its outcome.

    The captured page's statements about training are obeyed: of a refusal only headers are stored.
    The site's files of that time, such as robots.txt, are not known.
    """
    response, at = capture.response, capture.capture.at
    encodings = content_encodings(
        [v.decode("latin-1") for n, v in response.headers if n.lower() == b"content-encoding"]
    )
    body = decode_body(response.payload, encodings, records.MAX_BODY_BYTES)
    token, url = config.fetch.user_agent, capture.capture.url
    said = read_response(response.headers, body, url, token).statements
    obeyed = config.rights.obeyed
    refused = refusals(said, obeyed)

    outcome = Outcome(
        doc_id=link.doc_id,
        url=link.url,
        final_url=url,
        status=response.status,
        attempts=attempts,
        fetched_at=at,
        content_type=response.header("content-type"),
        capture=archive_name(capture.source),
        captured_at=at,
        original_record_id=capture.record_id or None,
        training=answer(said, ADDRESSED_TO_ALL | obeyed).value,
        signals=[signal_row(each) for each in said],
        checked_at=at,
    )
    payload, truncated = response.payload, None
    tags = [v.decode("latin-1") for n, v in response.headers if n.lower() == b"x-robots-tag"]
    if refused:
        outcome.reason, outcome.cause = Reason.TRAINING_OPT_OUT, ",".join(refused)
        payload, truncated = b"", "unspecified"
    elif is_tagged(tags, body, config.fetch.refuse_robots_tags, token):
        outcome.reason = Reason.ROBOTS_TAG
        payload, truncated = b"", "unspecified"
    elif not encodings and len(payload) > config.fetch.max_body_bytes:
        payload, truncated = payload[: config.fetch.max_body_bytes], "length"

    record_id = capture.record_id or writer.record_id()
    digest = writer.digest(payload)
    place = segment.add_response(
        url,
        block=writer.http_block(response.status_line, response.headers, payload),
        payload_digest=digest,
        fetched_at=at,
        ip=None,
        truncated=truncated,
        fields=[("WARC-Source-URI", capture.source)],
        response_id=record_id,
    )
    outcome.evidence = [record_id.strip("<>")] if said else []
    if outcome.reason is None:
        outcome.payload_digest = digest
        outcome.body_bytes = min(len(body), config.fetch.max_body_bytes) if truncated else len(body)
        outcome.truncated = truncated is not None
        outcome.warc_file, outcome.warc_offset = segment.path, place.offset
        outcome.warc_length = place.length

    return outcome
