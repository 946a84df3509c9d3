"""`python -m crawl` is short for `python -m crawl.run`."""

from crawl.run import main

if __name__ == "__main__":
    raise SystemExit(main())
