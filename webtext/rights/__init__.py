"""Commands about rights: what pages say about training is asked for again, and reported."""
