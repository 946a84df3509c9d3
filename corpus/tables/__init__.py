"""Tables on a store: schemas, Parquet parts, manifests, commits and snapshots."""
