"""Captures of dead links in web archives: indexes, the choice of one, and its record.

An index (`index.CaptureIndex`) lists the captures of a page: a CDX server, the columnar index of
Common Crawl, or local files. `choice` picks one by date, `record` fetches and checks its record,
and `revive` does this for the dead links of a batch.
"""
