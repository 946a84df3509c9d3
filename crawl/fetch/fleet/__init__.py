"""Workers of one fetch: the shards that each owns, and the journals in which they keep outcomes."""
