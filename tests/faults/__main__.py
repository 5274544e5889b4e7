"""Run the soak from the command line (`tests.faults.soak`)."""

from __future__ import annotations

import argparse
import os
import sys

import django


def main() -> int:
    """Run it, print what was seen; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="how long (%(default)s)")
    parser.add_argument("--pause", type=float, default=12, help="seconds between two troubles (%(default)s)")
    arguments = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup(set_prefix=False)
    from tests.faults.soak import soak  # what it imports needs Django

    findings = soak(arguments.seconds, arguments.pause)
    for what, count in sorted(findings.counts.items()):
        print(f"{count:8,d}  {what}")  # noqa: T201
    print(f"{len(findings.wrong):8,d}  wrong")  # noqa: T201
    for text in findings.wrong[:50]:
        print(f"  {text}")  # noqa: T201
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
