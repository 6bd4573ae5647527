"""``python install.py FOLDER``: makes ``FOLDER/bin`` with the commands, to try them by hand."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from commands import install

if __name__ == "__main__":
    print(install(sys.argv[1]))
