"""Monitors of a run: curves, speed, bad batches and the page of a run."""
