"""The source of a page: its charset, metadata, and text in data for machines."""
