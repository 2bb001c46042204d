"""The tables and statements of a ledger in PostgreSQL.

    TABLE             uploads; `asked` is the epoch that another process wants to end
    TABLE_parts       the parts of their drafts
    TABLE_events      events that wait to be sent
    TABLE_processes   the holders: when each was last seen, and its lock, if it has a session
    TABLE_usage       bytes that each name stores; TABLE_reserved: those of uploads under way
    TABLE_changes     keys of which a process decides what they have
    TABLE_counting    which process counts all files; TABLE_members: those that share the count
    TABLE_uses        files that links have brought; TABLE_downloads: of files for a few of them

Knows no connection. A statement that changes an upload names its epoch and its holder.
"""

from __future__ import annotations

from typing import LiteralString

__all__ = [
    "ABANDONED",
    "ALIVE_FOR",
    "ASK",
    "ASKED",
    "BEGIN_SWEEP",
    "CLAIM",
    "CLOCK",
    "CREATE",
    "DROP_PARTS",
    "EXPECT",
    "EXPIRED",
    "FIND",
    "LEASE",
    "LIVING",
    "MAY_WRITE",
    "NEWEST",
    "RELEASE",
    "RENEW",
    "SAVE",
    "SCHEMA",
    "SUFFIXES",
    "TAKE",
]

# of tables and indexes
SUFFIXES = (
    "_parts",
    "_events",
    "_processes",
    "_expires",
    "_asked",
    "_due",
    "_expected",
    "_finishing",
    "_usage",
    "_reserved",
    "_changes",
    "_counting",
    "_members",
    "_uses",
    "_downloads",
)
NEWEST = "_downloads"  # the table that is made last

# A process that was seen lately lives; one that has a session is dead when its lock is free, any
# other one when its lease is over.
ALIVE_FOR = 1.0  # seconds
LEASE = 4.0  # seconds

SCHEMA: tuple[LiteralString, ...] = (
    """CREATE TABLE IF NOT EXISTS {t} (
        place text NOT NULL, id text COLLATE "C" NOT NULL, dialect text NOT NULL,
        request text NOT NULL, created double precision NOT NULL, state text NOT NULL,
        epoch bigint NOT NULL, holder text NOT NULL, "offset" bigint NOT NULL, length bigint,
        draft text NOT NULL,
        details text NOT NULL, expires double precision, key text NOT NULL, response text,
        code text NOT NULL, asked bigint NOT NULL DEFAULT -1, PRIMARY KEY (place, id))""",
    "CREATE INDEX IF NOT EXISTS {t_expires} ON {t} (place, expires) WHERE expires IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS {t_asked} ON {t} (holder) WHERE asked = epoch",
    """CREATE TABLE IF NOT EXISTS {t_parts} (
        place text NOT NULL, upload text NOT NULL, number bigint NOT NULL, note text NOT NULL,
        PRIMARY KEY (place, upload, number))""",
    """CREATE TABLE IF NOT EXISTS {t_events} (
        place text NOT NULL, id text NOT NULL, upload text NOT NULL, body text NOT NULL,
        tries integer NOT NULL, created double precision NOT NULL, due double precision NOT NULL,
        holder text NOT NULL, PRIMARY KEY (place, id))""",
    "CREATE INDEX IF NOT EXISTS {t_due} ON {t_events} (place, due) WHERE holder = ''",
    "CREATE INDEX IF NOT EXISTS {t_expected} ON {t_events} (place) WHERE holder <> ''",
    "CREATE INDEX IF NOT EXISTS {t_finishing} ON {t} (place, id) WHERE state = 'finishing'",
    # Unlogged: no claim waits for the disk, and after a crash of the database all say again that
    # they live.
    """CREATE UNLOGGED TABLE IF NOT EXISTS {t_processes} (
        name text PRIMARY KEY, lock bigint, seen timestamptz NOT NULL)""",
    # Keys and names of owners are bytes: a file's may hold what no text of the database can.
    """CREATE TABLE IF NOT EXISTS {t_usage} (
        place text NOT NULL, name bytea NOT NULL, stored bigint NOT NULL,
        PRIMARY KEY (place, name))""",
    """CREATE TABLE IF NOT EXISTS {t_reserved} (
        place text NOT NULL, id text NOT NULL, name bytea NOT NULL, bytes bigint NOT NULL,
        total_credit bigint NOT NULL, name_credit bigint NOT NULL, holder text NOT NULL,
        whole text NOT NULL, PRIMARY KEY (place, id))""",
    """CREATE TABLE IF NOT EXISTS {t_changes} (
        place text NOT NULL, key bytea NOT NULL, name bytea, bytes bigint, holder text NOT NULL,
        PRIMARY KEY (place, key))""",
    """CREATE TABLE IF NOT EXISTS {t_counting} (
        place text PRIMARY KEY, holder text NOT NULL, done boolean NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS {t_members} (
        place text NOT NULL, process text NOT NULL, PRIMARY KEY (place, process))""",
    """CREATE TABLE IF NOT EXISTS {t_uses} (
        place text NOT NULL, link text NOT NULL, files bigint NOT NULL, ends double precision,
        PRIMARY KEY (place, link))""",
    """CREATE TABLE IF NOT EXISTS {t_downloads} (
        place text NOT NULL, number text NOT NULL, readers text[] NOT NULL, began bigint[] NOT
        NULL, PRIMARY KEY (place, number))""",
)

# For {living} in a statement: the processes that live. The times are ALIVE_FOR and LEASE.
LIVING: LiteralString = """(SELECT p.name FROM {t_processes} p WHERE CASE
    WHEN p.seen > now() - interval '1 second' THEN true
    WHEN p.seen < now() - interval '4 seconds' THEN false
    ELSE p.lock IS NULL OR NOT pg_try_advisory_xact_lock(p.lock) END)"""

MAY_WRITE = """SELECT has_table_privilege(%s, 'INSERT, UPDATE') AND NOT pg_is_in_recovery()
    AND current_setting('transaction_read_only') = 'off'"""
FIND = "SELECT {columns} FROM {t} WHERE place = %s AND id = %s"
CREATE = """INSERT INTO {t} (place, {columns})
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING RETURNING id"""
CLAIM = """UPDATE {t} u SET holder = %s, epoch = epoch + 1 WHERE place = %s AND id = %s
    AND holder <> %s AND NOT EXISTS (
        SELECT 1 FROM {t_processes} p WHERE p.name = u.holder AND CASE
            WHEN p.seen > now() - make_interval(secs => %s) THEN true
            WHEN p.seen < now() - make_interval(secs => %s) THEN false
            ELSE p.lock IS NULL OR NOT pg_try_advisory_xact_lock(p.lock) END)
    RETURNING {columns}"""
# Only the holder saves, or one that let go a moment ago: two processes may believe that they have
# the same epoch after a failover that lost the last commits.
SAVE = """WITH saved AS (
    UPDATE {t} SET dialect = %s, request = %s, created = %s, state = %s, epoch = %s, holder = %s,
        "offset" = %s, length = %s, draft = %s, details = %s, expires = %s, key = %s,
        response = %s, code = %s
    WHERE place = %s AND id = %s AND epoch = %s AND holder IN ('', %s) RETURNING place, id),
    parts AS (INSERT INTO {t_parts} (place, upload, number, note)
        SELECT saved.place, saved.id, part.number - 1 + (SELECT count(*) FROM {t_parts} p
            WHERE p.place = saved.place AND p.upload = saved.id), part.note
        FROM saved, unnest(%s::text[]) WITH ORDINALITY AS part (note, number)),
    events AS (INSERT INTO {t_events} (place, id, upload, body, tries, created, due, holder)
        SELECT saved.place, event.id, event.upload, event.body, event.tries,
            extract(epoch from now()), extract(epoch from now()), ''
        FROM saved, unnest(%s::text[], %s::text[], %s::text[], %s::int[])
            AS event (id, upload, body, tries)
        ON CONFLICT DO NOTHING)
    SELECT id FROM saved"""
DROP_PARTS = """WITH held AS (SELECT place, id FROM {t}
        WHERE place = %s AND id = %s AND epoch = %s AND holder IN ('', %s) FOR UPDATE),
    dropped AS (DELETE FROM {t_parts} p USING held
        WHERE p.place = held.place AND p.upload = held.id AND number >= %s)
    SELECT id FROM held"""
ASK = """WITH held AS (UPDATE {t} SET asked = epoch
        WHERE place = %s AND id = %s AND epoch = %s RETURNING holder, id, epoch)
    SELECT pg_notify(%s || holder, epoch || ' ' || id) FROM held WHERE holder <> ''"""
EXPECT = """INSERT INTO {t_events} (place, id, upload, body, tries, created, due, holder)
    SELECT %s, event.id, event.upload, event.body, 0, extract(epoch from now()),
        extract(epoch from now()), %s
    FROM unnest(%s::text[], %s::text[], %s::text[]) AS event (id, upload, body)
    ON CONFLICT (place, id) DO UPDATE SET holder = EXCLUDED.holder, due = EXCLUDED.due
        WHERE {t_events}.holder <> ''"""
ABANDONED = """UPDATE {t_events} SET holder = %s WHERE place = %s AND id IN (
    SELECT e.id FROM {t_events} e WHERE e.place = %s AND e.holder <> '' AND e.holder <> %s
        AND NOT EXISTS (SELECT 1 FROM {t_processes} p WHERE p.name = e.holder AND CASE
            WHEN p.seen > now() - make_interval(secs => %s) THEN true
            WHEN p.seen < now() - make_interval(secs => %s) THEN false
            ELSE p.lock IS NULL OR NOT pg_try_advisory_xact_lock(p.lock) END)
        LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING id, upload, body, tries, created"""
TAKE = """UPDATE {t_events} SET due = extract(epoch from now()) + %s WHERE place = %s AND id IN (
    SELECT id FROM {t_events} WHERE place = %s AND holder = ''
        AND due <= extract(epoch from now()) ORDER BY due LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING id, upload, body, tries, created"""
RELEASE = "UPDATE {t} SET holder = '' WHERE place = %s AND id = %s AND epoch = %s AND holder = %s"
ASKED = "SELECT id, epoch FROM {t} WHERE place = %s AND holder = %s AND asked = epoch"
CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"
EXPIRED = "SELECT {columns} FROM {t} WHERE place = %s AND expires <= %s ORDER BY expires LIMIT %s"
RENEW = """INSERT INTO {t_processes} (name, lock, seen) VALUES (%s, %s, now())
    ON CONFLICT (name) DO UPDATE SET lock = EXCLUDED.lock, seen = now()
    RETURNING extract(epoch FROM clock_timestamp())::float8"""
# A row like that of a process: the one that writes it first sweeps.
BEGIN_SWEEP = """INSERT INTO {t_processes} (name, seen) VALUES (%s, now())
    ON CONFLICT (name) DO UPDATE SET seen = now()
    WHERE {t_processes}.seen < now() - make_interval(secs => %s) RETURNING name"""
