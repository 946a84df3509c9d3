"""Runs `python -m clean.run`."""

from clean.run import main

if __name__ == "__main__":
    raise SystemExit(main())
