"""Permissions of a site: robots.txt, robots tags and statements of rights."""
