"""What stands on an issuer's word: shown to the person as a connection, and ended when that word no longer counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from oauth2_provider.models import get_access_token_model

from authapp import audit
from authapp.models import Application, Connection, LinkedIdentity, TrustedIssuer
from authapp.transactions import in_transaction


def connect(identity: LinkedIdentity, client: Application, *, scope: str, resource: str) -> None:
    """Show a person that a client is connected through their organisation.

    What they consented to themselves stays apart: it is neither more nor newer for it. The row is locked, so that
    disconnecting comes before, or sees the token.
    """
    told: dict[str, Any] = {"issuer": identity.issuer, "asserted_scope": scope}
    connection, _ = Connection.objects.select_for_update().get_or_create(
        user=identity.user, application=client, defaults=told | {"resource": resource}
    )
    if not connection.scope:
        told |= {"authorized_at": timezone.now(), "resource": resource}
    Connection.objects.filter(pk=connection.pk).update(**told)
    Application.objects.filter(pk=client.pk).update(last_authorized_at=timezone.now())


def record_link(identity: LinkedIdentity, meta: Mapping[str, Any], *, by: str) -> None:
    """Write down that a subject was linked to a user, by a rule or by whom."""
    audit.record(
        audit.Action.IDENTITY_LINKED,
        meta,
        user=identity.user,
        issuer=identity.issuer,
        subject=identity.subject,
        by=by,
    )


def end_issuer(issuer: str, meta: Mapping[str, Any], *, by: Any) -> int:
    """End every token that was issued on an issuer's word; return how many.

    Its row must be disabled or gone by then, in this transaction or before.

    Args:
        meta: `request.META` of whoever does it, for the audit trail; empty without a request.
        by: the user, or the name of who does it.
    """

    def work() -> int:
        list(TrustedIssuer.objects.select_for_update().filter(issuer=issuer))  # exchanges under way end first
        ended = _end(LinkedIdentity.objects.filter(issuer=issuer))
        audit.record(audit.Action.ISSUER_ENDED, meta, issuer=issuer, ended=ended, by=str(by))
        return ended

    return in_transaction(work)


def end_identities(identities: QuerySet[LinkedIdentity], meta: Mapping[str, Any], *, by: Any, unlink: bool) -> int:
    """Disable links, or delete them, and end every token that was issued on them; return how many tokens."""
    keys = list(identities.values_list("pk", flat=True))

    def work() -> int:
        chosen = LinkedIdentity.objects.filter(pk__in=keys)
        locked = list(chosen.select_for_update(of=("self",)).select_related("user").order_by("pk"))
        for identity in locked:
            audit.record(
                audit.Action.IDENTITY_ENDED,
                meta,
                user=identity.user,
                issuer=identity.issuer,
                subject=identity.subject,
                by=str(by),
            )
        ended = _end(chosen)
        if unlink:
            chosen.delete()
        else:
            chosen.filter(disabled_at=None).update(disabled_at=timezone.now())
        return ended

    return in_transaction(work)


def _end(identities: QuerySet[LinkedIdentity]) -> int:
    """Delete the tokens of identities, and what connections say of them."""
    tokens = get_access_token_model().objects.filter(asserted__identity__in=identities)
    ended: int = tokens.count()
    tokens.delete()
    connections = Connection.objects.filter(Exists(identities.filter(user=OuterRef("user"), issuer=OuterRef("issuer"))))
    connections.filter(scope="").delete()
    connections.update(issuer="", asserted_scope="")  # the person's own consent stays
    return ended
