"""Documents to tokens, and tokens to training blocks.

Comes in: `documents` and `verdicts` of a batch, and the corpus' pinned tokenizer (made here at
first use). Goes out: `tokens` (Parquet files that read like a memory map), `spans` (where each
document is in them), and a snapshot: the immutable list of files read by a training run through
`shards.reader`.
"""
