"""The browser of this machine, if a person sits in front of it."""

from __future__ import annotations

import os
import subprocess
import sys


def has_screen() -> bool:
    """Return whether there is a desktop here, and not only a terminal from far away."""
    if os.environ.keys() & {"SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"}:
        return False
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"})


def has_browser() -> bool:
    """Return whether a page can be opened for the person: a desktop, or a program that the person named in BROWSER."""
    if os.environ.get("BROWSER"):
        return True
    if not has_screen():
        return False
    import webbrowser

    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def open_page(url: str) -> None:
    """Open a page, and wait for nothing.

    A process of its own, since browsers write to stdout, which is for data, and since some end with their window. `-I`:
    nothing in the current folder is taken for Python's own module.
    """
    subprocess.Popen(  # noqa: S603  # our own Python; the URL is one argument
        [sys.executable, "-I", "-m", "webbrowser", url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
