"""Make the people that README.md signs in with; refused outside development."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser, Group, PermissionsMixin
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

PEOPLE = (
    ("demo", "Demo Reader", False, ("Book club", "Garden")),
    ("demo2", "Second Reader", False, ("Chess club",)),
    ("admin", "Site Admin", True, ()),
)


class Command(BaseCommand):
    """Make demo/demo, demo2/demo2 and staff admin/admin with their groups; leave those that exist as they are."""

    help = (
        "Make the development people demo/demo, demo2/demo2 and staff admin/admin. Refused when DEBUG is off, because "
        "everyone knows these passwords. People who exist are left as they are."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make whoever is missing."""
        if not settings.DEBUG:
            raise CommandError("Development people have well-known passwords; they are made only with DEBUG=true.")
        model = get_user_model()
        made = []
        for username, name, is_staff, groups in PEOPLE:
            with transaction.atomic():
                if model.objects.filter(**{model.USERNAME_FIELD: username}).exists():
                    continue
                first_name, _, last_name = name.partition(" ")
                names = {"first_name": first_name, "last_name": last_name} if issubclass(model, AbstractUser) else {}
                create = model.objects.create_superuser if is_staff else model.objects.create_user
                user = create(username, password=username, **names)
                if issubclass(model, PermissionsMixin):
                    user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
                made.append(username)
        self.stdout.write(f"Made development people: {', '.join(made)}." if made else "Development people exist.")
