"""Publishing a snapshot: a folder for data set libraries, with a card made from the tables."""
