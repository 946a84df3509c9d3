"""A window into the corpus: a small web application that reads the tables and shows pages."""
