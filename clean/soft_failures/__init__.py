"""Distinguishes pages from other answers: walls, soft 404s, parked domains, default pages.

A server without an answer often says so with status 200. `judge.judge` reads the facts from the
crawl and the extractor about an answer and returns the kind of soft failure, or None for a page.
"""
