"""`python -m dedup` is short for `python -m dedup.run`."""

from dedup.run import main

if __name__ == "__main__":
    raise SystemExit(main())
