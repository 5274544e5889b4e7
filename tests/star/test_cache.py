"""What is kept: encrypted where there is a keyring, whole or set aside, and nobody else's."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from mcpapp.client.cache import MAX_BYTES, Cache
from mcpapp.client.failures import CacheFailure
from tests.star.program import Star


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    cache = Cache(tmp_path / "state")
    cache.folder.mkdir()
    (cache.folder / "no-keyring").touch()
    return cache


def with_keyring(backend: str, folder: Path) -> dict[str, str]:
    return {
        "PYTHON_KEYRING_BACKEND": f"tests.star.keyring_backend.{backend}",
        "TEST_KEYRING": str(folder / "keyring.json"),
    }


def test_with_a_keyring_nothing_secret_is_on_the_disk_in_clear(star: Star, url: str, tmp_path: Path) -> None:
    keyring = with_keyring("Kept", tmp_path)
    done = star("login", url, **keyring)
    assert "unencrypted" not in done.stderr
    (path,) = star.kept()
    assert b"star_" not in path.read_bytes()
    assert url.encode() not in path.read_bytes()
    assert json.loads(path.read_text())["protection"] == "keyring"
    call = star.call(url, "protected-data", **keyring)
    assert [step for step in star.steps(call.stderr) if "/o/" in step] == []
    assert "encrypted" in star("status", **keyring).stdout


def test_a_key_that_is_gone_means_to_sign_in_again(star: Star, url: str, tmp_path: Path) -> None:
    keyring = with_keyring("Kept", tmp_path)
    star("login", url, **keyring)
    (tmp_path / "keyring.json").unlink()
    done = star("login", url, **keyring)
    assert "was set aside" in done.stderr
    assert f"Signed in to {url}." in done.stderr


def test_an_encrypted_file_opens_under_its_own_name_alone(star: Star, url: str, tmp_path: Path) -> None:
    """So that nobody puts the sign-in of one server in the place of another's."""
    keyring = with_keyring("Kept", tmp_path)
    star("login", url, **keyring)
    (path,) = star.kept()
    path.rename(path.with_name("0" * 32 + ".json"))
    done = star("status", **keyring)
    assert done.stdout == ""
    assert "was set aside" in done.stderr


@pytest.mark.parametrize("backend", ["Plain", "Silent"])
def test_a_keyring_that_protects_nothing_or_never_answers_is_not_waited_for(
    star: Star, url: str, tmp_path: Path, backend: str
) -> None:
    started = time.monotonic()
    done = star("login", url, **with_keyring(backend, tmp_path))
    assert time.monotonic() - started < 40
    assert "unencrypted" in done.stderr
    assert f"Signed in to {url}." in done.stderr
    assert not (tmp_path / "keyring.json").exists()


def test_a_locked_keyring_is_a_failure_and_the_sign_in_stays(star: Star, url: str, tmp_path: Path) -> None:
    star("login", url, **with_keyring("Kept", tmp_path))
    done = star("status", code=5, **with_keyring("Silent", tmp_path))
    assert "did not answer in time" in done.stderr
    assert "Unlock" in done.stderr
    assert star("status", **with_keyring("Kept", tmp_path)).stdout


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\x00\xff\xfe",
        b"[]",
        b'{"format": 99}',
        b'{"format": 1, "protection": "file", "content": []}',
        b'{"format": 1, "protection": "none", "content": {}}',
        b'{"format": 1, "protection": "keyring", "content": "!"}',
        b"[" * 100_000,
        b" " * MAX_BYTES + b'{"format": 1, "protection": "file", "content": {}}',
    ],
)
def test_what_cannot_be_read_is_set_aside(cache: Cache, damage: bytes) -> None:
    cache.write("servers", "x", {"a": 1})
    assert cache.read("servers", "x") == {"a": 1}, "the control"
    path = cache.path("servers", "x")
    path.write_bytes(damage)
    assert cache.read("servers", "x") is None
    assert not path.exists()
    (aside,) = path.parent.glob("*.unreadable-*")
    assert aside.read_bytes() == damage
    cache.write("servers", "x", {"a": 2})
    assert cache.read("servers", "x") == {"a": 2}


def test_a_corrupt_cache_leads_to_a_sign_in(star: Star, url: str) -> None:
    star("login", url)
    (path,) = star.kept()
    path.write_text("{")
    done = star.call(url, "protected-data")
    assert "was set aside" in done.stderr
    assert "demo" in done.stdout


def test_parts_of_another_type_are_as_good_as_not_kept(star: Star, url: str) -> None:
    star("login", url)
    star.change(tokens=[], client=7, expires_at="soon", server=None, who={}, more=1)
    assert "has ended" in star("status").stdout
    assert f"Signed in to {url}." in star("login", url).stderr


def test_links_and_files_of_others_are_refused(cache: Cache, tmp_path: Path) -> None:
    cache.write("servers", "x", {"a": 1})
    path = cache.path("servers", "x")
    target = tmp_path / "target"
    path.rename(target)
    path.symlink_to(target)
    with pytest.raises(CacheFailure, match="symbolic link"):
        cache.read("servers", "x")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CacheFailure, match="no file of yours"):
        cache.read("servers", "x")
    path.unlink()
    folder = cache.folder / "servers"
    for left in folder.iterdir():
        left.unlink()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(CacheFailure, match="is a link"):
        cache.write("servers", "x", {"a": 1})


def test_a_file_that_others_could_read_is_closed(cache: Cache) -> None:
    cache.write("servers", "x", {"a": 1})
    path = cache.path("servers", "x")
    path.chmod(0o644)
    assert cache.read("servers", "x") == {"a": 1}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_written_is_a_failure_with_a_hint(star: Star, url: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    done = star("login", url, "--cache-dir", str(tmp_path / "taken"), code=5)
    assert "--cache-dir" in done.stderr


async def test_one_holds_the_lock_at_a_time(cache: Cache) -> None:
    import anyio

    order: list[str] = []

    async def hold(name: str) -> None:
        async with Cache(cache.folder).lock("servers", "x"):
            order.append(f"{name} in")
            await anyio.sleep(0.1)
            order.append(f"{name} out")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold, "a")
        tasks.start_soon(hold, "b")
    assert order[0][0] == order[1][0]
    assert order[2][0] == order[3][0]
