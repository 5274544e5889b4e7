"""Files that a server sent: saved under names of ours, over nothing that is there."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from mcpapp.client.failures import Failure

# A name never ends in what a server makes up: what is none of these is `.bin`, which nothing starts when it is opened.
_ENDINGS = {
    "application/gzip": ".gz",
    "application/json": ".json",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/webm": ".weba",
    "image/avif": ".avif",
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/tiff": ".tif",
    "image/webp": ".webp",
    "text/csv": ".csv",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
}
# Windows has devices of these names, with any ending.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)$", re.IGNORECASE)
_MAX_FILES = 10_000


def decoded(data: str) -> bytes:
    """Return what base64 stands for.

    Raises: ValueError when it is none.
    """
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError("is no base64") from error


def save(content: bytes, folder: Path, stem: str, mime_type: str) -> Path:
    """Write a new file into `folder`, named after `stem` and numbered, and return its path.

    Raises: Failure when it cannot be written.
    """
    name = file_stem(stem)
    ending = _ENDINGS.get(mime_type.partition(";")[0].strip().lower(), ".bin")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, _MAX_FILES):
            path = folder / f"{name}-{number}{ending}"
            try:
                # "x": neither a file that is there nor what a link leads to is written over.
                with path.open("xb") as file:
                    file.write(content)
            except FileExistsError:
                continue
            return path
    except OSError as error:
        raise Failure(
            f"A file cannot be written to {folder}: {error.strerror or error}", "Use --output FOLDER."
        ) from error
    raise Failure(f"{folder} has {_MAX_FILES} files of the name {name}.", "Use --output FOLDER.")


def file_stem(name: str) -> str:
    """Return a name for a file that no system takes for anything else: letters, digits, `-` and `_`."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60] or "file"
    return f"_{stem}" if _DEVICES.match(stem) else stem
