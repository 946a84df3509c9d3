"""Rules for the pages to become documents: language, quality presets, boilerplate."""
