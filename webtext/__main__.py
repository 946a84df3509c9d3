"""`python -m webtext` runs the command `webtext`."""

from webtext.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
