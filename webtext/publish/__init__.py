"""Publishing a snapshot: a folder that data set libraries open, with a card made from the tables."""
