import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models
from oauth2_provider.settings import oauth2_settings


class Migration(migrations.Migration):
    dependencies = [
        ("authapp", "0004_watch_access"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        migrations.swappable_dependency(oauth2_settings.ACCESS_TOKEN_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="KeySet",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("url", models.CharField(max_length=500, unique=True, verbose_name="URL")),
                ("keys", models.JSONField(default=list, verbose_name="keys")),
                ("fresh_until", models.DateTimeField(blank=True, null=True, verbose_name="fresh until")),
                ("tried_at", models.DateTimeField(blank=True, null=True, verbose_name="last tried at")),
                ("busy_until", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "key set",
                "verbose_name_plural": "key sets",
                "ordering": ("url",),
            },
        ),
        migrations.CreateModel(
            name="PairwiseSecret",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField(unique=True)),
                ("sealed", models.TextField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "verbose_name": "secret of pairwise subjects",
            },
        ),
        migrations.CreateModel(
            name="TrustedIssuer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "issuer",
                    models.CharField(
                        help_text="Exactly as the provider's assertions have it in iss.",
                        max_length=255,
                        unique=True,
                        verbose_name="issuer",
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        blank=True, help_text="What people call the organisation.", max_length=100, verbose_name="name"
                    ),
                ),
                (
                    "jwks_uri",
                    models.CharField(
                        blank=True,
                        help_text="Where the provider publishes its keys; https.",
                        max_length=500,
                        verbose_name="JWKS URI",
                    ),
                ),
                (
                    "jwks",
                    models.JSONField(
                        blank=True,
                        help_text="The public keys themselves, in the place of a JWKS URI.",
                        null=True,
                        verbose_name="JWK set",
                    ),
                ),
                (
                    "rule",
                    models.CharField(
                        choices=[
                            ("linked", "not at all: subjects are linked beforehand"),
                            ("email", "by verified e-mail address, at first use"),
                        ],
                        default="linked",
                        max_length=16,
                        verbose_name="people are found",
                    ),
                ),
                (
                    "email_domains",
                    models.TextField(
                        blank=True,
                        help_text="Of which addresses the provider's word counts, each in full.",
                        verbose_name="e-mail domains",
                    ),
                ),
                (
                    "scopes",
                    models.TextField(
                        blank=True,
                        help_text="What is granted at most. Needed where its assertions name no scope.",
                        verbose_name="scopes",
                    ),
                ),
                (
                    "clients",
                    models.TextField(
                        blank=True,
                        help_text="Identifiers of the clients it speaks for; none means all that may.",
                        verbose_name="clients",
                    ),
                ),
                (
                    "tenant",
                    models.CharField(
                        blank=True,
                        help_text="Of a provider of many organisations: which is meant.",
                        max_length=255,
                        verbose_name="tenant",
                    ),
                ),
                (
                    "disabled_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="Of a disabled issuer nothing is accepted, also if the settings list it, and its tokens end.",
                        null=True,
                        verbose_name="disabled at",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
            ],
            options={
                "verbose_name": "trusted issuer",
                "verbose_name_plural": "trusted issuers",
                "ordering": ("issuer",),
            },
        ),
        migrations.CreateModel(
            name="UsedAssertion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(max_length=64, unique=True)),
                ("expires_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "verbose_name": "used assertion",
                "verbose_name_plural": "used assertions",
            },
        ),
        migrations.AddField(
            model_name="application",
            name="id_token_signed_response_alg",
            field=models.CharField(blank=True, max_length=8, verbose_name="ID token signed response alg"),
        ),
        migrations.AddField(
            model_name="application",
            name="jwks",
            field=models.JSONField(blank=True, null=True, verbose_name="public keys"),
        ),
        migrations.AddField(
            model_name="application",
            name="jwks_uri",
            field=models.CharField(blank=True, max_length=500, verbose_name="address of public keys"),
        ),
        migrations.AddField(
            model_name="application",
            name="previous_client_secret",
            field=models.CharField(blank=True, editable=False, max_length=255),
        ),
        migrations.AddField(
            model_name="application",
            name="previous_client_secret_expires_at",
            field=models.DateTimeField(
                blank=True, editable=False, null=True, verbose_name="previous secret works until"
            ),
        ),
        migrations.AddField(
            model_name="application",
            name="service_user",
            field=models.ForeignKey(
                blank=True,
                help_text="What the tools run as that this client calls without a person. Not a person's account.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="service user",
            ),
        ),
        migrations.AddField(
            model_name="application",
            name="token_endpoint_auth_signing_alg",
            field=models.CharField(blank=True, max_length=16, verbose_name="token endpoint auth signing alg"),
        ),
        migrations.AddField(
            model_name="connection",
            name="asserted_scope",
            field=models.CharField(blank=True, max_length=1000, verbose_name="scope through the organisation"),
        ),
        migrations.AddField(
            model_name="connection",
            name="issuer",
            field=models.CharField(blank=True, max_length=255, verbose_name="through the organisation"),
        ),
        migrations.AddField(
            model_name="tokenfamily",
            name="authenticated_at",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="auditevent",
            name="action",
            field=models.CharField(
                choices=[
                    ("client_registered", "client registered"),
                    ("client_changed", "client changed its registration"),
                    ("client_deleted", "client deleted its registration"),
                    ("client_disabled", "client disabled"),
                    ("client_enabled", "client enabled"),
                    ("secret_replaced", "client secret replaced"),
                    ("consent_given", "consent given"),
                    ("consent_refused", "consent refused"),
                    ("consent_remembered", "consent remembered"),
                    ("token_issued", "tokens issued"),
                    ("token_refreshed", "tokens refreshed"),
                    ("code_replayed", "code replayed"),
                    ("refresh_replayed", "refresh token replayed"),
                    ("token_revoked", "tokens revoked"),
                    ("disconnected", "client disconnected"),
                    ("assertion_refused", "identity assertion refused"),
                    ("identity_linked", "identity linked"),
                    ("identity_ended", "identity disabled or unlinked"),
                    ("issuer_ended", "trusted issuer disabled or removed"),
                ],
                max_length=32,
                verbose_name="action",
            ),
        ),
        migrations.CreateModel(
            name="DeviceAuthorization",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("device_code_digest", models.CharField(max_length=64, unique=True)),
                ("user_code_digest", models.CharField(max_length=64, unique=True)),
                ("scope", models.TextField(blank=True, verbose_name="scope")),
                ("resource", models.JSONField(default=list, verbose_name="resource")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "waits for a person"),
                            ("approved", "allowed"),
                            ("denied", "denied"),
                            ("used", "turned into tokens"),
                        ],
                        default="pending",
                        max_length=8,
                        verbose_name="status",
                    ),
                ),
                ("requested_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="asked for at")),
                ("expires_at", models.DateTimeField(db_index=True, verbose_name="expires at")),
                ("interval", models.PositiveIntegerField(verbose_name="seconds between polls")),
                ("last_polled_at", models.DateTimeField(blank=True, null=True, verbose_name="last polled at")),
                ("ip_address", models.GenericIPAddressField(blank=True, null=True, verbose_name="address")),
                ("user_agent", models.CharField(blank=True, max_length=255, verbose_name="user agent")),
                ("decided_at", models.DateTimeField(blank=True, null=True, verbose_name="answered at")),
                (
                    "application",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="device_authorizations",
                        to=settings.OAUTH2_PROVIDER_APPLICATION_MODEL,
                        verbose_name="client",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="answered by",
                    ),
                ),
            ],
            options={
                "verbose_name": "device authorization",
                "verbose_name_plural": "device authorizations",
            },
        ),
        migrations.CreateModel(
            name="LinkedIdentity",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("issuer", models.CharField(max_length=255, verbose_name="issuer")),
                ("subject", models.CharField(max_length=255, verbose_name="subject")),
                (
                    "linked_by",
                    models.CharField(
                        blank=True,
                        help_text="The rule or the person that made the link.",
                        max_length=254,
                        verbose_name="linked by",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="linked at")),
                (
                    "disabled_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="A disabled link stays, so that no rule makes it again; nothing is issued on it.",
                        null=True,
                        verbose_name="disabled at",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="linked_identities",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "linked identity",
                "verbose_name_plural": "linked identities",
            },
        ),
        migrations.CreateModel(
            name="AssertedToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "access_token",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="asserted",
                        to=oauth2_settings.ACCESS_TOKEN_MODEL,
                    ),
                ),
                (
                    "identity",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="tokens", to="authapp.linkedidentity"
                    ),
                ),
            ],
            options={
                "verbose_name": "asserted token",
            },
        ),
        migrations.CreateModel(
            name="SigningKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "algorithm",
                    models.CharField(
                        choices=[("RS256", "Rs256"), ("ES256", "Es256")], max_length=8, verbose_name="algorithm"
                    ),
                ),
                (
                    "number",
                    models.PositiveIntegerField(help_text="Counts the keys of one algorithm.", verbose_name="number"),
                ),
                ("kid", models.CharField(max_length=64, unique=True, verbose_name="key ID")),
                ("public_jwk", models.JSONField(verbose_name="public key")),
                ("sealed_private_key", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                ("signs_from", models.DateTimeField(verbose_name="signs from")),
                ("retired_at", models.DateTimeField(blank=True, null=True, verbose_name="retired at")),
                ("published_until", models.DateTimeField(blank=True, null=True, verbose_name="published until")),
            ],
            options={
                "verbose_name": "signing key",
                "verbose_name_plural": "signing keys",
                "ordering": ("algorithm", "number"),
                "constraints": [
                    models.UniqueConstraint(fields=("algorithm", "number"), name="one_signing_key_per_number")
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="linkedidentity",
            constraint=models.UniqueConstraint(fields=("issuer", "subject"), name="one_user_per_issuer_and_subject"),
        ),
    ]
