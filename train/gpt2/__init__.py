"""GPT-2: shape, model, loss, sampling, and the Hugging Face form of its weights."""
