"""What a database holds, to be compared before and after something that is to leave it as it is."""

import psycopg


def contents(url: str, schema: str) -> dict[str, tuple[object, ...]]:
    """Every row of every table, digested with where it is stored, and how far every sequence is."""
    with psycopg.connect(url, client_encoding="UTF8") as connection:
        names = connection.execute(
            "select format('%%I.%%I', schemaname, tablename) from pg_tables where schemaname = %s", [schema]
        ).fetchall()
        found: dict[str, tuple[object, ...]] = {}
        for (table,) in names:
            row = connection.execute(
                "select count(*), md5(string_agg(t::text || t.ctid::text, '' order by t.ctid::text))"
                f" from {table} as t".encode()
            ).fetchone()
            assert row is not None
            found[table] = row
        sequences = connection.execute(
            "select sequencename, last_value from pg_sequences where schemaname = %s", [schema]
        ).fetchall()
    return found | {name: (last_value,) for name, last_value in sequences}
