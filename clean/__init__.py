"""Turns pages into documents: the main text of each page, or the reason to drop it.

In: `pages` (the outcome of each fetch, with its position in the WARC files) and `links` (score,
subreddit, domain). Out: `documents` and `documents_dropped`. Every fetched page is in exactly one
of the two. The stage reads WARC files only, needs no network, and can be run any number of times.
"""
