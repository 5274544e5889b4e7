#!/usr/bin/env python
"""Run Django's command line for Star; `python manage.py help` lists the commands."""

import os
import sys


def main() -> None:
    """Run one management command; a bad setting ends it with one sentence instead of a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("Django is not installed for this Python. Run `make run`, or use .venv/bin/python manage.py.")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Star cannot start: {error}")


if __name__ == "__main__":
    main()
