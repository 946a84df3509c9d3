"""Reddit submission dumps to fetched pages.

In: dumps (`RS_*.zst` and kin). Out: the tables `links` (one row per distinct page upvoted by
readers) and `pages` (one row per link, with its outcome), and the raw responses as WARC files
beside `pages`.
"""
