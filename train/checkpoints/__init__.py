"""The folder of a run and its checkpoints: saved, checked and opened again."""
