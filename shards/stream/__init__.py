"""The training stream: file layout, cache, epoch order, blocks and mixtures."""
