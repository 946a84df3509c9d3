"""Rules that decide which pages become documents: language, quality presets, boilerplate."""
