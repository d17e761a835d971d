"""URLs of Postgres as Prisma or libpq would read them: where to connect, with which limits and search_path.

No connection is opened here. Prisma's parameters are those of its own parser (prisma-engines,
quaint/src/connector/postgres/url.rs).
"""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from aboutness_assets.database import silence
from aboutness_assets.domain.errors import SettingsError

_PREPARE_AFTER = 5  # executions of one statement, psycopg's own default
_CONNECT_TIMEOUT = 10  # seconds; Prisma's 5 are short for a serverless Postgres that has to wake up
_POOL_TIMEOUT = 30.0  # seconds, psycopg_pool's own default
_ENCODING = {"client_encoding": "UTF8"}  # whatever the server's, the role's or PGCLIENTENCODING is
_WITHOUT_END = 86_400.0  # seconds: Prisma's pool_timeout=0 waits indefinitely, psycopg_pool wants a number

_LIBPQ_PARAMETERS = frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())


@dataclass(frozen=True, slots=True)
class ServiceUrl:
    """How to connect to the service's Postgres; printing it shows no password.

    ``conninfo`` is libpq's. ``schema`` goes before the role's own search_path, so that the types of
    extensions are still found. ``connection_limit`` is in connections (None: the caller's choice),
    ``pool_timeout`` in seconds, ``prepare_threshold`` psycopg's. ``transaction_pooler`` (``pgbouncer=true``)
    says that every transaction may meet another server session: nothing may be prepared, or set for longer
    than a transaction.
    """

    conninfo: str = field(repr=False)
    schema: str | None = None
    connection_limit: int | None = None
    pool_timeout: float = _POOL_TIMEOUT
    prepare_threshold: int | None = _PREPARE_AFTER
    transaction_pooler: bool = False


def service_conninfo(url: str, setting: str = "DATABASE_URL") -> ServiceUrl:
    """Read the URL that ``setting`` holds.

    Raises SettingsError, which names the setting and never shows the URL or a piece of it, as it may hold a
    password; for the same reason the parser's own error is not attached as its cause.

    Understood of Prisma: ``schema``, ``connection_limit``, ``pool_timeout`` (seconds, 0 = no end),
    ``pgbouncer``, ``statement_cache_size=0``, ``sslaccept=strict`` with ``sslmode=require`` (libpq's
    verify-full), and ``sslcert`` without ``sslkey`` (there the server's CA, in libpq the client's
    certificate). What libpq knows passes, anything else is dropped: ``sslidentity`` too, as libpq cannot
    read its format.
    """
    # An .env file read by something other than a shell may leave its quotes on.
    url = url.strip().strip("\"'")
    if not url:
        raise SettingsError(
            f"{setting} is not set: set it to the address of a Postgres "
            "(postgresql://user:password@host/database), or put `aboutness-local` before the command to run "
            "it in the embedded environment."
        )
    scheme, separator, rest = url.partition("://")
    if scheme in ("prisma", "prisma+postgres"):
        raise SettingsError(
            f"{setting} is an address of Prisma Accelerate, which does not speak Postgres: set it to the "
            "database's direct address (often called DIRECT_URL), postgresql://user:password@host/database."
        )
    if not separator or scheme not in ("postgres", "postgresql"):
        raise SettingsError(
            f"{setting} is not the address of a Postgres: set it to "
            "postgresql://user:password@host/database, or put `aboutness-local` before the command to run it "
            "in the embedded environment."
        )
    if "\0" in unquote(rest):  # libpq would read up to it and no further
        raise _malformed(setting)
    credentials, server, query = _split(rest)
    given = _query_parameters(query, setting)
    try:
        parameters = conninfo_to_dict(f"postgresql://{credentials}{server}", **_libpq_parameters(given))
        defaults = {"connect_timeout": _CONNECT_TIMEOUT, **silence.OF_CLIENT}
        conninfo = make_conninfo("", **defaults | parameters | _ENCODING)
    except (psycopg.Error, ValueError):
        raise _malformed(setting) from None
    # libpq would quote a wrong port, which may be a piece of an unencoded password, in its own error.
    ports = str(parameters.get("port") or "")
    if "@" in server or not re.fullmatch(r"(?:\d{1,5})?(?:,(?:\d{1,5})?)*", ports, re.ASCII):
        raise _malformed(setting)
    transaction_pooler = given.get("pgbouncer", "").lower() == "true"
    unprepared = transaction_pooler or given.get("statement_cache_size") == "0"
    limit, seconds = (_whole_number(given, name, setting) for name in ("connection_limit", "pool_timeout"))
    if limit == 0:
        raise SettingsError(f"connection_limit=0 in {setting} allows no connection: set it to 1 or more.")
    return ServiceUrl(
        conninfo,
        schema=given.get("schema") or None,
        connection_limit=limit,
        pool_timeout=_POOL_TIMEOUT if seconds is None else seconds or _WITHOUT_END,
        prepare_threshold=None if unprepared else _PREPARE_AFTER,
        transaction_pooler=transaction_pooler,
    )


def operations_conninfo(url: str) -> str:
    """libpq's conninfo of DAGSTER_PG_URL, whose scheme may name SQLAlchemy's driver as well.

    Raises SettingsError, which shows nothing of the URL.
    """
    return service_conninfo(
        url.replace("postgresql+psycopg2://", "postgresql://", 1), "DAGSTER_PG_URL"
    ).conninfo


def sqlalchemy_url(url: str) -> str:
    """DAGSTER_PG_URL for SQLAlchemy with psycopg2: what only Prisma understands is dropped or translated.

    Raises SettingsError, as operations_conninfo does.
    """
    parameters = conninfo_to_dict(operations_conninfo(url))
    user, password, database = (
        quote(str(parameters.pop(name, "") or ""), safe="") for name in ("user", "password", "dbname")
    )
    # The host goes into the query too: there SQLAlchemy understands sockets and lists of hosts.
    credentials = f"{user}:{password}@" if password else f"{user}@" if user else ""
    return f"postgresql://{credentials}/{database}?{urlencode(parameters, quote_via=quote)}"


def address_without_secrets(url: str, table: str) -> str | None:
    """Where a table of DATABASE_URL is, ``postgresql://host:port/database/schema.table``, for a person.

    No user, no password and no parameter is in it. The schema only where ``?schema=`` names it. None where
    the URL cannot be read or names no host (a socket) or no database.
    """
    try:
        service = service_conninfo(url)
    except SettingsError:
        return None
    parameters = conninfo_to_dict(service.conninfo)
    hosts = str(parameters.get("host") or parameters.get("hostaddr") or "").split(",")
    ports = str(parameters.get("port") or "").split(",")
    database = str(parameters.get("dbname") or "")
    if not database or any(not re.fullmatch(r"[\w.:-]+", host) for host in hosts):
        return None
    ports = ports if len(ports) == len(hosts) else ports[:1] * len(hosts)
    places = [
        (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
        for host, port in zip(hosts, ports, strict=True)
    ]
    schema = f"{quote(service.schema, safe='')}." if service.schema else ""
    return f"postgresql://{','.join(places)}/{quote(database, safe='')}/{schema}{table}"


def _split(rest: str) -> tuple[str, str, str]:
    """``user:password@``, ``host:port/database`` and the query, cut where libpq cuts them."""
    credentials = match[0] if (match := re.match(r"[^/@]*@", rest)) else ""
    server, _, query = rest[len(credentials) :].partition("?")
    return credentials, server, query


def _query_parameters(query: str, setting: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, errors="strict"))
    except ValueError:
        raise _malformed(setting) from None


def _libpq_parameters(given: dict[str, str]) -> dict[str, str]:
    parameters = {name: value for name, value in given.items() if name in _LIBPQ_PARAMETERS}
    if "sslkey" not in given:
        authority = parameters.pop("sslcert", "system")
        parameters.pop("sslpassword", None)
        # With any lesser sslmode Prisma itself falls back to plain text, so there is nothing to verify.
        if given.get("sslaccept") == "strict" and given.get("sslmode") == "require":
            parameters |= {"sslmode": "verify-full", "sslrootcert": authority}
    if given.get("sslmode") == "no-verify":  # what Prisma's adapter for node-postgres knows
        parameters["sslmode"] = "require"
    return parameters


def _whole_number(given: dict[str, str], name: str, setting: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise SettingsError(f"{name} in {setting} is not a whole number: write one, or leave it out.")
    return int(text)


def _malformed(setting: str) -> SettingsError:
    return SettingsError(
        f"{setting} cannot be read: write postgresql://user:password@host:port/database and percent-encode "
        "whatever is not a letter or digit in user and password (@ is %40, / is %2F, ? is %3F, % is %25)."
    )
