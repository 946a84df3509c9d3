"""Distinguishes pages from other answers: walls, soft 404s, parked domains, default pages.

A server that lacks a page often sends another answer with status 200. `judge.judge` reads the
crawl's and the extractor's findings about an answer and returns the kind of soft failure, or None
for a page.
"""
