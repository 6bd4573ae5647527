"""``python -m tests.bench [--full] [--strict] [--only GROUP]...``: every figure from one run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import local, pages, polling, push, records, rest, startup, takeover
from tests.bench.options import Options
from tests.bench.report import Report

GROUPS: dict[str, Callable[[Options, Report], None]] = {
    "startup": startup.measure,
    "local": local.measure,
    "polling": polling.measure,
    "rest": rest.measure,
    "push": push.measure,
    "takeover": takeover.measure,
    "pages": pages.measure,
    "records": records.measure,
}


def _options(argv: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="lists of a million jobs too (takes minutes more)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--only", action="append", default=[], choices=GROUPS, help="this group alone; may be repeated")
    parser.add_argument("--json", type=Path, help="write the lines there as JSON, too")
    found = parser.parse_args(argv)
    return Options(full=found.full, strict=found.strict, only=tuple(found.only), json=found.json)


def main(argv: list[str]) -> int:
    """Runs the groups."""
    options = _options(argv)
    report = Report()
    began = time.monotonic()
    report.head()
    for name, measure in GROUPS.items():
        if not options.only or name in options.only:
            measure(options, report)
    report.close(time.monotonic() - began)
    if options.json is not None:
        report.write(options.json)
    return 1 if options.strict and report.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
