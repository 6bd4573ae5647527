"""``python -m hpcgate``: the command line."""

from __future__ import annotations

from hpcgate.cli.main import main

if __name__ == "__main__":
    main()
