"""Proofs that outlive the corpus: one signed root over a snapshot, and short proofs of single
pages."""
