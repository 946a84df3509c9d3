"""Zero-shot scores: tasks, log-probabilities, de-tokenizers and the figures of the GPT-2 paper."""
