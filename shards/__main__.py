"""`python -m shards` is short for `python -m shards.run`."""

from shards.run import main

if __name__ == "__main__":
    raise SystemExit(main())
