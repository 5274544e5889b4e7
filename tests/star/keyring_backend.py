"""Keyrings for the tests: one that keeps its secrets in a file of the test, and one that never answers."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from keyring.backend import KeyringBackend


class Kept(KeyringBackend):
    priority = 5

    @property
    def _file(self) -> Path:
        return Path(os.environ["TEST_KEYRING"])

    def get_password(self, service: str, username: str) -> str | None:
        secrets = json.loads(self._file.read_text()) if self._file.exists() else {}
        return secrets.get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        secrets = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._file.write_text(json.dumps(secrets | {f"{service}/{username}": password}))


class Silent(Kept):
    def get_password(self, service: str, username: str) -> str | None:
        time.sleep(600)
        return None


class Plain(Kept):
    """As `keyrings.alt` ranks the ones that protect nothing."""

    priority = 0.5
