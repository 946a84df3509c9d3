"""Near-duplicate pages: signatures, bands, candidate pairs and the greedy choice of survivors."""
