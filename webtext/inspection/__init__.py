"""Commands for questions about a corpus: its pages, tables, snapshots and past runs."""
