"""Summaries for people: the HTML report, the status table, and the figures of a batch."""
