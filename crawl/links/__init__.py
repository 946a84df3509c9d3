"""Reddit dumps to the `links` table."""
