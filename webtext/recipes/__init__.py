"""Settings for common purposes, one TOML file each: `webtext init RECIPE`."""
