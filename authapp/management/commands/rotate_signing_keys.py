"""Rotate the keys that sign ID tokens."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError
from django.utils import timezone

from authapp import conf
from authapp.models import SigningKey
from authapp.openid import signing_keys


class Command(BaseCommand):
    """Publish the next key of each algorithm, or list the keys there are."""

    help = (
        "Make new keys for ID tokens. A new key is published at once and signs when no cached copy of the key set can "
        "be without it; the one before stays published until all that it signed has expired and caches are renewed. "
        "Private keys that sign no more are erased, those that do are encrypted with today's SECRET_KEY, and keys that "
        "have not been published for a year are deleted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the algorithm and how to go about it."""
        parser.add_argument("--algorithm", choices=conf.ID_TOKEN_ALGORITHMS, help="Rotate this one only.")
        parser.add_argument(
            "--overlap", type=int, metavar="SECONDS", help="How long the old key is published after it stops signing."
        )
        parser.add_argument(
            "--now", action="store_true", help="The new key signs at once: for when the old one may be known to others."
        )
        parser.add_argument(
            "--list", action="store_true", help="Make none; encrypt and erase as above, and say which keys there are."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate."""
        if not options["list"]:
            overlap = _require_overlap(options["overlap"], at_once=options["now"])
            algorithms = [options["algorithm"]] if options["algorithm"] else conf.ID_TOKEN_ALGORITHMS
            for algorithm in algorithms:
                self._rotate(algorithm, at_once=options["now"], overlap=overlap)
        signing_keys.tidy()
        if options["list"]:
            lines = [f"{key.algorithm} {key.kid} {_state(key)}" for key in SigningKey.objects.all()]
            self.stdout.write("\n".join(lines) or "There are no keys yet: they are made when they are first needed.")

    def _rotate(self, algorithm: str, *, at_once: bool, overlap: int | None) -> None:
        try:
            key = signing_keys.rotate(algorithm, at_once=at_once, overlap=overlap)
        except signing_keys.AlreadyRotating as error:
            raise CommandError(
                f"The next {algorithm} key is published and signs from {error.key.signs_from:%Y-%m-%d %H:%M:%S} UTC. "
                "Use --now to replace it."
            ) from error
        except IntegrityError as error:
            raise CommandError("Another rotation came first.") from error
        self.stdout.write(
            f"Made the {algorithm} key {key.kid}, which signs from {key.signs_from:%Y-%m-%d %H:%M:%S} UTC."
        )


def _require_overlap(seconds: int | None, *, at_once: bool) -> int | None:
    least = 0 if at_once else signing_keys.overlap_seconds()
    if seconds is not None and not least <= seconds <= 10 * 365 * 24 * 3600:
        raise CommandError(
            f"--overlap must be at least {least} seconds, so that ID tokens can be verified until they expire"
            + ("." if at_once else "; with --now it may be less.")
        )
    return seconds


def _state(key: SigningKey) -> str:
    now = timezone.now()
    if key.retired_at is None or key.retired_at > now:
        return "signs" if key.signs_from <= now else f"signs from {key.signs_from:%Y-%m-%d %H:%M:%S} UTC"
    if key.published_until is not None and key.published_until > now:
        return f"retired, published until {key.published_until:%Y-%m-%d %H:%M:%S} UTC"
    return "retired"
