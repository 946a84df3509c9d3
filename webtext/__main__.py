"""`python -m webtext` runs the command `webtext`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # `python -m` puts the working folder first: a stranger's train.py there would shadow ours.
    if Path(sys.path[0]).resolve() != Path(__file__).resolve().parents[1]:
        del sys.path[0]

    from webtext.cli import main

    raise SystemExit(main())
