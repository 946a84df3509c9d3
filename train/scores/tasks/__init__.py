"""Zero-shot tasks: an official file and a model in, one outcome per entry out, figures from outcomes.

A task reads entries, gives every entry an outcome (a flat row, kept as Parquet), and computes its
figures from any set of outcomes: of all entries, or of those that do not overlap with the training
corpus.
"""
