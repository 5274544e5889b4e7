"""Sign in with Microsoft Entra ID through django-allauth: one tenant, pinned (docs/decisions/0027)."""
