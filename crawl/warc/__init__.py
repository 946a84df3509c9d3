"""WARC records: reading, writing, checking, erasing, and importing captures from elsewhere."""
