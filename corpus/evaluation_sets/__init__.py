"""Evaluation sets with digests: official files, local files and sets of the Hugging Face hub."""
