"""Tokens to GPT-2.

In: a snapshot (`snapshots/<name>.json`) and the token shards it names, read through
`shards.reader`. Out: `runs/<run>/` with config.json, checkpoints/, metrics.jsonl, samples/,
scores.json and, written last, summary.json.

One train function (`loop.train`) under three launchers: plain `python -m train.run`, `torchrun`,
and Ray Train. Doors: `train.run`, `train.evaluate`, `train.generate`, `train.export`; none loads
torch before its arguments are right. This package is the home of torch.
"""
