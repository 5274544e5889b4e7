"""Everything a call needs to know of its access token, in one statement: token, client, person and consent."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import connections
from django.db.models import Field
from oauth2_provider.models import get_access_token_model

from authapp.direct import Reader, Row
from authapp.models import Application, Connection

SERVICE_FIELDS = ("client_type", "authorization_grant_type", "grant_types", "registration_source", "scope")
"""What decides what a client may do without a person."""


class TokenRow(NamedTuple):
    """One access token with what belongs to it."""

    expires: datetime
    scope: str
    resource: list[str] | None
    application_pk: int
    client_id: str
    client_name: str
    disabled_at: datetime | None
    connection_pk: int | None
    service: Application | None
    """What the client may do without a person, where the token has none; the user is then the client's service user."""
    user_key: str | None
    """The primary key as the database's own text has it, which triggers name it by; None if that is not known."""
    user_is_active: bool
    make_user: Callable[[], AbstractBaseUser]
    """Each call gives another instance: what one tool does to it, no other sees."""


async def read(reader: Reader, checksum: str) -> TokenRow | None:
    """Return the row of the token with a SHA-256, or None; one without a user or a client is none.

    Where the token has no person, the user is the client's service user (`authapp.services`).

    Raises:
        django.db.OperationalError: the database does not answer.
    """
    query = _query(reader.alias, reader.placeholder)
    row = await reader.fetch(query.statement, checksum)
    return query.parse(row) if row is not None else None


class _Query:
    """The statement, and how its columns turn into values: by the converters that Django's own queries use."""

    def __init__(self, alias: str, placeholder: str) -> None:
        connection = connections[alias]
        quote = connection.ops.quote_name
        token, user = get_access_token_model()._meta, get_user_model()._meta
        application, consent = Application._meta, Connection._meta
        fields: list[tuple[str, Any]] = [
            ("t", token.get_field("expires")),
            ("t", token.get_field("scope")),
            ("t", token.get_field("resource")),
            ("a", application.pk),
            ("a", application.get_field("client_id")),
            ("a", application.get_field("name")),
            ("a", application.get_field("disabled_at")),
            ("c", consent.pk),
            ("t", token.get_field("user")),
        ]
        self._of_service = len(fields) - 1
        # In the model's own order, in which `from_db` takes values.
        service_fields = [field for field in application.concrete_fields if field.name in SERVICE_FIELDS]
        self._service_fields = [field.attname for field in service_fields]
        fields += [("a", field) for field in service_fields]
        self._alias = alias
        self._first_of_user = len(fields)
        self._user_fields = [field.attname for field in user.concrete_fields]
        self._key = self._first_of_user + self._user_fields.index(user.pk.attname)
        self._is_active = self._user_fields.index("is_active") if "is_active" in self._user_fields else None
        fields += [("u", field) for field in user.concrete_fields]
        self._converters = [_converters(field, connection) for _, field in fields]

        def column(table: str, field: Any) -> str:
            return f"{table}.{quote(field.column)}"

        def same(one: str, one_field: Any, other: str, other_field: Any) -> str:
            return f"{column(one, one_field)} = {column(other, other_field)}"

        columns = ", ".join(column(table, field) for table, field in fields)
        self.statement = (
            f"SELECT {columns} FROM {quote(token.db_table)} t"  # noqa: S608  (names of columns alone)
            f" JOIN {quote(application.db_table)} a ON {same('t', token.get_field('application'), 'a', application.pk)}"
            f" JOIN {quote(user.db_table)} u ON {column('u', user.pk)} = COALESCE("
            f"{column('t', token.get_field('user'))}, {column('a', application.get_field('service_user'))})"
            # Both by the token: by the client's own row PostgreSQL would go through all who connected that client.
            f" LEFT JOIN {quote(consent.db_table)} c ON"
            f" {same('c', consent.get_field('user'), 't', token.get_field('user'))}"
            f" AND {same('c', consent.get_field('application'), 't', token.get_field('application'))}"
            f" WHERE t.{quote(token.get_field('token_checksum').column)} = {placeholder}"
        )

    def parse(self, row: Row) -> TokenRow:
        """Return the values of a row."""
        values = list(row)
        user_key = str(row[self._key])  # before it is converted
        connection = connections[self._alias]
        for index, converters in enumerate(self._converters):
            for converter in converters:
                values[index] = converter(values[index], None, connection)
        user_values = values[self._first_of_user :]
        of_token, (person, *of_client) = values[: self._of_service], values[self._of_service : self._first_of_user]
        service = Application.from_db(self._alias, self._service_fields, of_client) if person is None else None
        has_mutable = any(isinstance(value, dict | list | set | bytearray) for value in user_values)

        def make_user() -> AbstractBaseUser:
            own = copy.deepcopy(user_values) if has_mutable else user_values
            user: AbstractBaseUser = get_user_model().from_db(self._alias, self._user_fields, own)
            return user

        # Some user models have no such column; theirs is a property, or always True.
        is_active = user_values[self._is_active] if self._is_active is not None else make_user().is_active
        return TokenRow._make([*of_token, service, user_key, is_active, make_user])


@lru_cache(maxsize=8)
def _query(alias: str, placeholder: str) -> _Query:
    return _Query(alias, placeholder)


def _converters(field: Field[Any, Any], connection: Any) -> Sequence[Callable[[Any, Any, Any], Any]]:
    """Return what Django applies to a value from the database, in its order."""
    return [*connection.ops.get_db_converters(field.cached_col), *field.get_db_converters(connection)]


def activity_is_stored() -> bool:
    """Return whether people become inactive by a change to their row, and not by a property that says so anytime."""
    model = get_user_model()
    is_field = any(field.attname == "is_active" for field in model._meta.concrete_fields)
    return is_field or isinstance(inspect.getattr_static(model, "is_active", True), bool)


def is_readable() -> bool:
    """Return whether the statement can be made: the person's model is one table."""
    user = get_user_model()._meta
    return list(user.concrete_fields) == list(user.local_concrete_fields)
