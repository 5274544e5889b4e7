"""QR codes that are part of a page: no request, no style, no script, which its Content-Security-Policy would refuse."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

from qrcode.constants import ERROR_CORRECT_M
from qrcode.main import QRCode

_QUIET_ZONE = 4  # ISO/IEC 18004: modules of white on each side


class Drawing(NamedTuple):
    """A QR code as an SVG path of black on white."""

    size: int
    """Width and height of its view box."""
    path: str


def draw(text: str) -> Drawing:
    """Return the QR code of a text of a few hundred characters."""
    code = QRCode(border=_QUIET_ZONE, error_correction=ERROR_CORRECT_M)
    code.add_data(text)
    matrix = code.get_matrix()
    path = ""
    for y, row in enumerate(matrix):
        x = 0
        for is_black, modules in groupby(row):
            width = len(list(modules))
            path += f"M{x} {y}h{width}v1h-{width}z" if is_black else ""
            x += width
    return Drawing(len(matrix), path)
