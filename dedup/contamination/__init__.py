"""Passages of test sets in pages: the index of the sets, exact and near matches, the steps."""
