"""The corpus as a store of keys: local folders and object stores, conditional writes, leases."""
