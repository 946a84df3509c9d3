"""Take-downs: removes pages from every table, segment and snapshot of a corpus."""
