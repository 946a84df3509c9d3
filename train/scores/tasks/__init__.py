"""Zero-shot tasks: an official file and a model in, one outcome per entry out, figures from outcomes.

A task reads entries, gives every entry an outcome (a flat row, kept as Parquet), and computes its
figures from any set of outcomes: from all entries, or from those without overlap with the training
corpus.
"""
