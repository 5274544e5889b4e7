"""Triggers that tell every worker when the link between a subject of an issuer and a user changes (PostgreSQL)."""

from django.db import migrations

from authapp import triggers


class Migration(migrations.Migration):
    dependencies = [("authapp", "0005_more_ways_in")]

    operations = [migrations.RunPython(triggers.install, migrations.RunPython.noop)]
