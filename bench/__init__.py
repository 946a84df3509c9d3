"""Side by side with the alternatives: `python -m bench.<name> [--json]`. A bench never asserts; it prints what it saw."""
