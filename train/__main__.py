"""`python -m train` is short for `python -m train.run`."""

from train.run import main

if __name__ == "__main__":
    raise SystemExit(main())
