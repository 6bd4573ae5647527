"""What the tests of the plugin share."""

from __future__ import annotations

import sys
from pathlib import Path

# For `slurm_reading`: with importlib's import mode test files do not see their neighbours.
sys.path.append(str(Path(__file__).parent))
