from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("authapp", "0004_watch_access"),
    ]

    operations = [
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
        migrations.AddField(
            model_name="application",
            name="id_token_signed_response_alg",
            field=models.CharField(blank=True, max_length=8, verbose_name="ID token signed response alg"),
        ),
        migrations.AddField(
            model_name="tokenfamily",
            name="authenticated_at",
            field=models.BigIntegerField(blank=True, null=True),
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
    ]
