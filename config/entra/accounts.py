"""Whether a person's account in the tenant still counts: `AUTHAPP["ACCOUNT_CHECK"]`.

The refresh token that their last sign-in brought is redeemed. That works as long as the account is enabled and nothing
was revoked; Entra's no means that they have to sign in again, which somebody who is disabled cannot.
"""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings

from authapp.models import IdentityCredential
from authapp.openid import sealing
from config.entra import requests_to_entra
from config.entra.requests_to_entra import Refused, Unavailable

logger = logging.getLogger(__name__)

_ABOUT_THE_PERSON = frozenset({"invalid_grant", "interaction_required", "login_required", "consent_required"})
"""Other errors are about this site's registration, say a secret that expired: no word about anybody."""


def still_counts(user: Any) -> bool | None:
    """Return True, False for an account that has ended or must be signed in with anew, None if Entra did not say.

    A person without such an account, or who never signed in here with it, is not asked about.
    """
    credentials = list(
        IdentityCredential.objects.filter(identity__user=user, identity__issuer=settings.ENTRA.issuer).select_related(
            "identity"
        )
    )
    answers = [_ask(credential) for credential in credentials]
    if not answers or True in answers:
        return True
    return None if None in answers else False


def _ask(credential: IdentityCredential) -> bool | None:
    if credential.identity.disabled_at is not None:
        return False
    try:
        refresh_token = sealing.unseal(credential.sealed).decode()
    except sealing.Unreadable:
        logger.warning("What user %s signed in with cannot be read any more.", credential.identity.user_id)
        credential.delete()
        return False
    try:
        answer = requests_to_entra.tokens(
            grant_type="refresh_token", refresh_token=refresh_token, scope=" ".join(requests_to_entra.SCOPES)
        )
    except Refused as refused:
        if refused.error not in _ABOUT_THE_PERSON:
            logger.error("Entra refuses this site: %s", refused)
            return None
        logger.warning("Entra says of the account of user %s: %s", credential.identity.user_id, refused)
        # Only this one: they may be signing in again just now.
        IdentityCredential.objects.filter(pk=credential.pk, sealed=credential.sealed).delete()
        return False
    except Unavailable as error:
        logger.warning("Entra cannot be asked: %s", error)
        return None
    rotated = answer.get("refresh_token")
    if isinstance(rotated, str) and rotated:
        IdentityCredential.objects.filter(pk=credential.pk, sealed=credential.sealed).update(
            sealed=sealing.seal(rotated.encode())
        )
    return True
