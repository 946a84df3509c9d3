"""Documents to verdicts: near-duplicates removed with proof, overlap with test sets measured and removed.

In: `documents` of a batch, and the index of earlier batches. Out: `signatures`, `verdicts`, and
`bands`, the index of survivors for the next batch; with test sets also `overlap`, their n-grams
found in the batch.
"""
