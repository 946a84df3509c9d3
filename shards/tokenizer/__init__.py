"""Byte-level BPE: vocabulary, encoder and the pinned tokenizer of a corpus."""
