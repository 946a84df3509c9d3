"""Documents: pages in, one page's main text each out, or a reason why not.

In: `pages` (what was fetched, with its place in the WARC files) and `links` (score, subreddit,
domain). Out: `documents` and `documents_dropped`; every fetched page is in exactly one of the two.
Runs from the WARC files alone, without network, as often as one likes.
"""
