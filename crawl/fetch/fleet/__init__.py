"""Workers of one fetch: the shards of each, and the journals of their outcomes."""
