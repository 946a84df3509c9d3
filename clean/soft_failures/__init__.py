"""Tells answers that are not pages from pages: walls, soft 404s, parked domains, default pages.

A server that has nothing to say often says it with status 200. `judge.judge` reads what the crawl
and the extractor know about an answer and returns the kind of soft failure, or None for a page.
"""
