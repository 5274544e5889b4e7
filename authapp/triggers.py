"""The triggers that tell every worker of a change to a token, a person, a client or a consent (PostgreSQL).

They notice what no code of ours sees: psql, another service, `QuerySet.update`. A statement notifies once for each row
it changed, or once for all if those are many. A migration installs them; `authapp.changes` listens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.conf import settings
from oauth2_provider.settings import oauth2_settings

CHANNEL = "star_access"
MANY = 100
"""A statement that wrote more rows than this says `*`: everything may have changed."""


class Watched(NamedTuple):
    """A table, what notifications call its rows, by which column, and which columns matter to no call."""

    model: str
    kind: str
    column: str
    ignored: tuple[str, ...] = ()


# `created` and `updated` are of the row, not of what it says.
WATCHED = (
    Watched(oauth2_settings.ACCESS_TOKEN_MODEL, "token", "token_checksum", ("updated",)),
    Watched("authapp.Application", "client", "id", ("updated", "last_authorized_at")),
    Watched("authapp.Connection", "connection", "id", ("authorized_at",)),
    Watched("authapp.LinkedIdentity", "identity", "id"),
)
USER = ("user", ("last_login",))

_FUNCTION = f"""
CREATE OR REPLACE FUNCTION star_access_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    changed text[];
    many integer;
    ignored text[] := string_to_array(TG_ARGV[2], ',');
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('{CHANNEL}', '*');
        RETURN NULL;
    END IF;
    SELECT count(*) INTO many FROM (SELECT 1 FROM old_rows LIMIT {MANY} + 1) o;
    IF many > {MANY} THEN  -- comparing them all would cost more than looking tokens up again
        PERFORM pg_notify('{CHANNEL}', '*');
        RETURN NULL;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(to_jsonb(o) ->> TG_ARGV[1]) INTO changed FROM old_rows o;
    ELSE
        SELECT array_agg(d.r ->> TG_ARGV[1]) INTO changed FROM (
            SELECT to_jsonb(o) - ignored AS r FROM old_rows o
            EXCEPT
            SELECT to_jsonb(n) - ignored FROM new_rows n
        ) d;
    END IF;
    IF changed IS NOT NULL THEN
        PERFORM pg_notify('{CHANNEL}', TG_ARGV[0] || ':' || key) FROM unnest(changed) AS key;
    END IF;
    RETURN NULL;
END
$$
"""  # noqa: S608  (names made above)


_ROW_FUNCTION = f"""
CREATE OR REPLACE FUNCTION star_access_changed_row() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_notify('{CHANNEL}', TG_ARGV[0] || ':' || (to_jsonb(OLD) ->> TG_ARGV[1]));
    RETURN NULL;
END
$$
"""


def statements(table: str, kind: str, column: str, ignored: Iterable[str]) -> list[str]:
    """Return what makes the triggers of one table anew."""
    arguments = f"'{kind}', '{column}', '{','.join(ignored)}'"
    made = [
        ("update", "UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
        ("delete", "DELETE", "REFERENCING OLD TABLE AS old_rows"),
        ("truncate", "TRUNCATE", ""),
    ]
    lines = []
    for name, event, referencing in made:
        lines.append(f'DROP TRIGGER IF EXISTS star_access_{name} ON "{table}"')
        lines.append(
            f'CREATE TRIGGER star_access_{name} AFTER {event} ON "{table}" {referencing} '
            f"FOR EACH STATEMENT EXECUTE FUNCTION star_access_changed({arguments})"
        )
        # Also for a session that has switched triggers off (`session_replication_role`), as a restore does.
        lines.append(f'ALTER TABLE "{table}" ENABLE ALWAYS TRIGGER star_access_{name}')
    # What a subscriber of a logical replication applies fires triggers for rows and no others.
    lines += [
        f'DROP TRIGGER IF EXISTS star_access_row ON "{table}"',
        f'CREATE TRIGGER star_access_row AFTER UPDATE OR DELETE ON "{table}" '
        f"FOR EACH ROW EXECUTE FUNCTION star_access_changed_row('{kind}', '{column}')",
        f'ALTER TABLE "{table}" ENABLE REPLICA TRIGGER star_access_row',
    ]
    return lines


def install(apps: Any, schema_editor: Any) -> None:
    """Make the function and the triggers (for `RunPython`); nothing on another kind of database."""
    if schema_editor.connection.vendor != "postgresql":
        return
    schema_editor.execute(_FUNCTION)
    schema_editor.execute(_ROW_FUNCTION)
    for table, kind, column, ignored in _tables(apps):
        for statement in statements(table, kind, column, ignored):
            schema_editor.execute(statement)


def remove(apps: Any, schema_editor: Any) -> None:
    """Undo `install`."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION IF EXISTS star_access_changed() CASCADE")
        schema_editor.execute("DROP FUNCTION IF EXISTS star_access_changed_row() CASCADE")


_ENABLED = {
    "star_access_update": "A",
    "star_access_delete": "A",
    "star_access_truncate": "A",
    "star_access_row": "R",
}
"""The triggers of a table, and in which sessions they fire: always, or in replicas alone (pg_trigger.tgenabled)."""

STATE = (
    "SELECT string_agg(concat(t.oid, ' ', t.xmin, ' ', t.tgenabled, ' ', t.tgrelid::regclass, ' ', c.relkind,"
    " c.relhassubclass, ' ', p.xmin), ',' ORDER BY t.oid)"
    " FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid"
    " WHERE starts_with(t.tgname::text, 'star_access_')"
)
"""A text that is another one after somebody made, dropped or switched a trigger, replaced its function, or put another
table in the place of one that is watched."""


async def missing_triggers(connection: Any) -> list[str]:
    """Return the tables that a psycopg connection finds without all of their triggers, or with some switched off.

    A table with children, or in partitions, counts as one of them: a change to a child is not told.
    """
    from django.apps import apps

    cursor = await connection.execute(
        "SELECT c.relname, t.tgname, t.tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "WHERE pg_table_is_visible(c.oid) AND c.relkind = 'r' AND NOT c.relhassubclass"
    )
    found = set(await cursor.fetchall())
    return [
        table
        for table, *_ in _tables(apps)
        if not all((table, name, enabled) in found for name, enabled in _ENABLED.items())
    ]


def _is_there(apps: Any, model: str) -> bool:
    """Return whether a model is there at the migration that asks; the next one that installs sees to it else."""
    try:
        apps.get_model(model)
    except LookupError:
        return False
    return True


def _tables(apps: Any) -> list[tuple[str, str, str, tuple[str, ...]]]:
    tables = [
        (apps.get_model(watched.model)._meta.db_table, watched.kind, watched.column, watched.ignored)
        for watched in WATCHED
        if _is_there(apps, watched.model)
    ]
    user = apps.get_model(settings.AUTH_USER_MODEL)
    people = [user._meta, *(parent._meta for parent in user._meta.get_parent_list())]  # one row in several tables
    return [*tables, *((meta.db_table, USER[0], meta.pk.column, USER[1]) for meta in people)]
