"""Quality learned from votes: labels, the fit, and its card."""
