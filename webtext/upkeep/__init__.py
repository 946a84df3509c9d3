"""Commands to keep a corpus up to date: new dumps, changed settings, old files."""
