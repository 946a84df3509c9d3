"""Snapshots: the frozen list of files of a training run, its remarks, exports and retirement."""
