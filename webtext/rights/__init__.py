"""Commands about rights: ask pages again for their terms of training, and report the answers."""
