"""Programs of maintainers; not part of the installed package."""
