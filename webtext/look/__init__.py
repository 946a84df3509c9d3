"""A small web application for looking into a corpus: it reads the tables and shows pages."""
