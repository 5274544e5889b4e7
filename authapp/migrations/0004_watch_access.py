from django.conf import settings
from django.db import migrations
from oauth2_provider.settings import oauth2_settings

from authapp import triggers


class Migration(migrations.Migration):
    dependencies = [
        ("authapp", "0003_audit_host_rules_and_families"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        migrations.swappable_dependency(oauth2_settings.ACCESS_TOKEN_MODEL),
    ]

    operations = [
        migrations.RunPython(triggers.install, triggers.remove),
    ]
