"""Ablations: the same small model trained on several versions of the data, and compared."""
