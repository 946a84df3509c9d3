"""Documents to verdicts: near-duplicates removed with proof, overlap with test sets measured and removed.

In: `documents` of a batch, and what earlier batches kept. Out: `signatures`, `verdicts`, and
`bands`, the index of survivors that the next batch meets; with test sets also `overlap`, their
n-grams that the batch contains.
"""
