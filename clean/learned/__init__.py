"""Main text by a learned judge of blocks."""
