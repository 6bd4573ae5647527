"""Shows that the core alone can be imported, quickly, and brings none of the libraries of its extras.

Run by ``tox -e light`` in an environment that holds nothing but the core's wheel and what it requires.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import requires
from importlib.util import find_spec

#: What the extras bring. None of it may be needed, or be imported, for the models, the contract or the gateway.
EXTRAS = (
    *("flask", "flask_smorest", "gunicorn", "marshmallow", "prometheus_client"),
    *("fabric", "paramiko", "psycopg", "ClusterShell", "jsonschema"),
)
#: Installed with the core, but too slow to import before somebody needs it.
LATER = ("click", "cryptography", "httpx", "jwt", "peewee", "pluggy", "rich", "ulid", "hpcgate.gateway")


def fail(message: str) -> None:
    sys.exit(f"light: {message}")


def imported(statement: str) -> dict[str, float]:
    """Module -> cumulated milliseconds, for a fresh interpreter that runs ``statement``."""
    result = subprocess.run([sys.executable, "-X", "importtime", "-c", statement], capture_output=True, text=True)
    if result.returncode:
        fail(f"{statement!r} failed:\n{result.stderr[-2000:]}")
    lines = re.findall(r"^import time: +\d+ \| +(\d+) \| *(\S+)$", result.stderr, re.MULTILINE)
    return {name: int(microseconds) / 1000 for microseconds, name in lines}


def main() -> None:
    if "site-packages" not in (find_spec("hpcgate").origin or ""):
        fail("hpcgate was not installed as a wheel")
    if there := [name for name in EXTRAS if find_spec(name)]:
        fail(f"{', '.join(there)} are installed, so that this run proves nothing")

    modules = imported("import hpcgate")
    if heavy := [name for name in (*EXTRAS, *LATER) if name in modules]:
        fail(f"'import hpcgate' imports {', '.join(heavy)}")
    if modules["hpcgate"] > 150:
        fail(f"'import hpcgate' takes {modules['hpcgate']:.0f} ms; 150 are allowed")

    imported("import hpcgate; [getattr(hpcgate, name) for name in hpcgate.__all__]")
    imported("import hpcgate.cli.main, hpcgate.cli.embedded, hpcgate.client.http")
    imported("import hpcgate.scheduler.base, hpcgate.transport.local")

    # A gateway opens, and says in one line what it has no plugin for.
    script = (
        "import hpcgate, tempfile, pathlib\n"
        "from hpcgate.config import config_from\n"
        "from hpcgate.errors import HpcgateError\n"
        "try:\n"
        "    with tempfile.TemporaryDirectory() as home:\n"
        "        hpcgate.open_gateway(config_from({}, home=pathlib.Path(home))).close()\n"
        "except HpcgateError as error:\n"
        "    assert 'local' in error.message, error.message\n"
        "else:\n"
        "    raise SystemExit('a site without its plugin was accepted')\n"
    )
    imported(script)
    core = [line for line in requires("hpcgate") or () if "extra ==" not in line]
    print(f"light: 'import hpcgate' takes {modules['hpcgate']:.1f} ms; the core requires {len(core)} distributions")


if __name__ == "__main__":
    main()
