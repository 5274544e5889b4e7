"""A mail to a person whose account a client was connected to: they should know, if it was not them.

Sent after the commit and beside the request: a slow or dead mail server keeps nobody waiting, and ends no consent.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

from django.core.mail import EmailMessage
from django.db import transaction
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from authapp import audit, conf, identities
from authapp.models import Connection

logger = logging.getLogger(__name__)

MAXIMUM_NAME = 100
_sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="authapp-mail")


def tell_of_new_connection(connection: Connection, request: HttpRequest) -> None:
    """Send a mail once the transaction is kept, if the settings want it and the person has an address."""
    field = identities.email_field()
    address = str(getattr(connection.user, field, "") or "") if field and conf.notify_new_connections() else ""
    if not address:
        return
    # A name is a client's own words: one line of it, and no link is made of it in a mail of text.
    name = " ".join(str(connection.application).split())[:MAXIMUM_NAME]
    context = {
        "client": name,
        "username": connection.user.get_username(),
        "issuer": conf.issuer(request),
        "page": conf.absolute_url(request, "connected-apps"),
        "address": audit.sender(request.META)["ip_address"] or "",
    }
    subject = " ".join((_("%(client)s was connected to your account") % {"client": name}).split())
    message = EmailMessage(subject, render_to_string("authapp/mail/new_connection.txt", context), to=[address])
    transaction.on_commit(lambda: _sender.submit(_send, message))


def _send(message: EmailMessage) -> None:
    try:
        message.send()
    except Exception:  # whatever a mail server does
        logger.exception("A notice of a new connection could not be sent.")
