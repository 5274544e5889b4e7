"""Say a User-Agent header in plain words. It is what a program says of itself, and proves nothing."""

from __future__ import annotations

import re

from django.utils.translation import gettext as _

# The first that matches: browsers name those that they are like, too.
_BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrom", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_PRODUCT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}")  # "Visual Studio Code/1.119" has spaces


def in_words(user_agent: str) -> str:
    """Return "Firefox on Linux", or the name by which a program that is no browser calls itself."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    if user_agent.startswith("Mozilla/") and browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    product = _PRODUCT.match(user_agent.partition("/")[0])
    if product is None or product[0] == "Mozilla":
        return _("A program that does not say what it is")
    return _("A program that calls itself %(name)s") % {"name": product[0].strip()}
