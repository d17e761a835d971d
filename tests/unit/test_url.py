"""DATABASE_URL as Prisma writes it becomes what libpq reads, and never shows its password."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from aboutness_assets.database.url import service_conninfo
from aboutness_assets.domain.errors import SettingsError

# What a connection parameter can hold: any Unicode but NUL and lone surrogates.
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


SILENCE_IS_NOTICED = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


def parameters(url: str) -> dict[str, object]:
    return dict(conninfo_to_dict(service_conninfo(url).conninfo))


def test_a_whole_prisma_url_is_understood() -> None:
    url = service_conninfo(
        "postgresql://ann:p%40ss@db.example.com:6543/music?schema=My%20Songs&connection_limit=7&pool_timeout=20"
        "&connect_timeout=5&pgbouncer=true&sslaccept=strict&sslidentity=client.p12&sslpassword=x&socket_timeout=9"
        "&max_idle_connection_lifetime=60&made_up=1&application_name=the+service"
    )
    assert conninfo_to_dict(url.conninfo) == {
        "user": "ann",
        "password": "p@ss",
        "host": "db.example.com",
        "port": "6543",
        "dbname": "music",
        "connect_timeout": "5",
        "application_name": "the service",
        "client_encoding": "UTF8",
        **SILENCE_IS_NOTICED,
    }
    assert (url.schema, url.connection_limit, url.pool_timeout) == ("My Songs", 7, 20)
    assert url.transaction_pooler
    assert url.prepare_threshold is None


def test_a_plain_url_leaves_the_choices_to_us() -> None:
    assert parameters("postgres://u@h/db") == {
        "user": "u",
        "host": "h",
        "dbname": "db",
        "connect_timeout": "10",
        "client_encoding": "UTF8",
        **SILENCE_IS_NOTICED,
    }
    url = service_conninfo("postgres://u@h/db")
    assert (url.schema, url.connection_limit, url.transaction_pooler) == (None, None, False)
    assert url.prepare_threshold is not None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u@[::1]:5433/db", {"host": "::1", "port": "5433"}),
        ("postgresql://u@h1:1,h2:2/db?target_session_attrs=any", {"host": "h1,h2", "port": "1,2"}),
        ("postgresql://u:p@localhost/db?host=/cloudsql/a:b:c", {"host": "/cloudsql/a:b:c", "user": "u"}),
        ("postgresql:///db?host=/var/run/postgresql", {"host": "/var/run/postgresql", "dbname": "db"}),
        ("postgresql://u:s#?p@h/db", {"password": "s#?p", "host": "h"}),
        ('"postgresql://u@h/db"\n', {"user": "u", "dbname": "db"}),
        ("postgresql://u@h/db?client_encoding=LATIN1", {"client_encoding": "UTF8"}),
    ],
)
def test_hosts_of_every_kind_are_read(url: str, expected: dict[str, str]) -> None:
    assert expected.items() <= parameters(url).items()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sslmode=require", {"sslmode": "require"}),
        ("sslmode=require&sslaccept=strict", {"sslmode": "verify-full", "sslrootcert": "system"}),
        (
            "sslmode=require&sslaccept=strict&sslcert=ca.pem",
            {"sslmode": "verify-full", "sslrootcert": "ca.pem"},
        ),
        ("sslmode=require&sslaccept=accept_invalid_certs&sslcert=ca.pem", {"sslmode": "require"}),
        ("sslaccept=strict", {}),
        ("sslmode=no-verify", {"sslmode": "require"}),
        (
            "sslmode=verify-full&sslcert=c&sslkey=k&sslrootcert=r",
            {"sslmode": "verify-full", "sslcert": "c", "sslkey": "k", "sslrootcert": "r"},
        ),
    ],
)
def test_tls_means_what_prisma_or_libpq_mean_by_it(query: str, expected: dict[str, str]) -> None:
    found = parameters(f"postgresql://u@h/db?{query}")
    assert {name: value for name, value in found.items() if name.startswith("ssl")} == expected


def test_a_statement_cache_of_size_0_turns_prepared_statements_off() -> None:
    assert service_conninfo("postgresql://u@h/db?statement_cache_size=0").prepare_threshold is None


@given(user=words, password=words, database=words, schema=words)
def test_names_and_passwords_of_any_characters_arrive(
    user: str, password: str, database: str, schema: str
) -> None:
    user_, password_, database_, schema_ = (
        quote(word, safe="") for word in (user, password, database, schema)
    )
    url = f"postgresql://{user_}:{password_}@host/{database_}?schema={schema_}"
    found = parameters(url)
    assert (found["user"], found["password"], found["dbname"]) == (user, password, database)
    assert service_conninfo(url).schema == schema


@pytest.mark.parametrize("url", ["", "  ", '""'])
def test_without_a_url_the_error_names_the_setting_and_the_embedded_environment(url: str) -> None:
    with pytest.raises(SettingsError, match=r"DATABASE_URL is not set.*aboutness-local"):
        service_conninfo(url)


@pytest.mark.parametrize("url", ["prisma://acc/?api_key=s3cret", "prisma+postgres://acc/?api_key=s3cret"])
def test_an_address_of_prisma_accelerate_is_refused_with_what_to_set(url: str) -> None:
    with pytest.raises(SettingsError, match="direct address") as caught:
        service_conninfo(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:s3cret@h/db",
        "file:./dev.db?s3cret",
        "s3cret",
        "host=h password=s3cret",
        "postgresql+psycopg2://u:s3cret@h/db",
        "postgresql://u:s3cret%zz@h/db",
        "postgresql://u:s3cret x@h/db",
        "postgresql://u:s3cret/x@h/db",
        "postgresql://u:12/s3cret@h/db",
        "postgresql://u:x@s3cret@h/db",
        "postgresql://u:s3cret@h:port/db",
        "postgresql://u:s3cret%00@h/db",
        "postgresql://u:s3cret%FF@h/db",
        "postgresql://u:s3cret@[::1/db",
        "postgresql://u:s3cret@h/db?application_name=%00",
        "postgresql://u:s3cret@h/db?schema=%FF",
        "postgresql://u:s3cret@h/db?connection_limit=many",
        "postgresql://u:s3cret@h/db?connection_limit=0",
        "postgresql://u:s3cret@h/db?pool_timeout=-1",
        "postgresql://u:s3cret\ud800@h/db",
    ],
)
def test_a_malformed_url_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL") as caught:
        service_conninfo(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(
    st.one_of(
        st.text(), st.text().map("postgresql://u:{}@h/db?x=1".format), st.text().map("postgres://".__add__)
    )
)
def test_any_string_is_read_or_refused_as_a_setting(url: str) -> None:
    try:
        service_conninfo(url)
    except SettingsError as error:
        assert "DATABASE_URL" in str(error)


def test_printing_shows_no_password() -> None:
    assert "s3cret" not in repr(service_conninfo("postgresql://u:s3cret@h/db?schema=x"))
