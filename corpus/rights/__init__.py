"""Statements about training: their vocabulary, their combination, and the policy that obeys them.

`crawl.rights` reads them from sites and pages; the table `rights` holds them.
"""
