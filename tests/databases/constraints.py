"""Cases of constraints, triggers and rules on song_aboutness."""

from tests.databases.case import Case, FailsItsSong, FailsUnpaid, Fills

TRIGGER = """
create function on_insert() returns trigger language plpgsql as $$ begin {body} end $$;
create trigger on_insert {when} on song_aboutness for each row execute function on_insert()
"""


def trigger(body: str, when: str = "before insert") -> str:
    """A trigger on song_aboutness."""
    return TRIGGER.replace("{body}", body).replace("{when}", when)


KEYS = [
    Case(
        "no primary key",
        FailsUnpaid("no primary key or unique constraint of its own"),
        "alter table song_aboutness drop constraint song_aboutness_pkey",
    ),
    Case(
        "a unique index in place of the primary key",
        Fills(),
        "alter table song_aboutness drop constraint song_aboutness_pkey;"
        " create unique index on song_aboutness (song_id)",
    ),
    Case(
        "a primary key of song_id and created_at",
        FailsUnpaid("no primary key or unique constraint of its own"),
        "alter table song_aboutness drop constraint song_aboutness_pkey, add primary key (song_id, "
        "created_at)",
    ),
    Case(
        "a unique constraint that every second row breaks",
        FailsUnpaid("song_aboutness_version_key"),
        "alter table song_aboutness add version int not null default 1 unique",
    ),
    Case(
        "a unique constraint that one row breaks",
        FailsItsSong("12", "accepted the row without an error"),
        "alter table song_aboutness add constraint one_text unique (emotions_text);"
        " update songs set title = (select title from songs where song_id = 11),"
        " artist = (select artist from songs where song_id = 11) where song_id = 12",
    ),
    Case(
        "a foreign key to the songs",
        Fills(),
        "alter table song_aboutness add foreign key (song_id) references songs",
    ),
    Case(
        "a foreign key to a table that lacks the songs",
        FailsUnpaid("foreign key constraint"),
        "create table tracks (id int primary key);"
        " alter table song_aboutness add foreign key (song_id) references tracks",
    ),
    Case(
        "a foreign key that is checked at commit, to a table that lacks the songs",
        FailsUnpaid("foreign key constraint"),
        "create table tracks (id int primary key);"
        " alter table song_aboutness add foreign key (song_id) references tracks deferrable initially "
        "deferred",
    ),
    Case(
        "a foreign key to a table that lacks one song",
        FailsItsSong("9", "foreign key constraint"),
        "create table tracks (id int primary key); insert into tracks select song_id from songs where "
        "song_id <> 9;"
        " alter table song_aboutness add foreign key (song_id) references tracks",
    ),
]

TRIGGERS = [
    Case("a trigger that returns NULL", FailsUnpaid("on_insert"), trigger("return null;")),
    Case(
        "a trigger that returns NULL for one song",
        FailsItsSong("7", "accepted the row without an error"),
        trigger("if new.song_id = 7 then return null; end if; return new;"),
    ),
    Case(
        "a trigger that raises",
        FailsUnpaid("only the service writes here"),
        trigger("raise exception 'only the service writes here';"),
    ),
    Case(
        "a trigger that raises for one song",
        FailsItsSong("7", "song 7 is locked"),
        trigger("if new.song_id = 7 then raise exception 'song 7 is locked'; end if; return new;"),
    ),
    Case(
        "a trigger that raises at commit",
        FailsUnpaid("not today"),
        trigger("raise exception 'not today'; return null;", "after insert").replace(
            "create trigger on_insert after insert on song_aboutness",
            "create constraint trigger on_insert after insert on song_aboutness deferrable initially "
            "deferred",
        ),
    ),
    Case(
        "a trigger that changes song_id",
        FailsUnpaid("on_insert"),
        trigger("new.song_id := new.song_id + 1000; return new;"),
    ),
    Case(
        "a trigger that empties a vector",
        FailsUnpaid("A trigger changes the vectors"),
        trigger("new.moments_vector := null; return new;"),
    ),
    Case(
        "a trigger that appends to a text",
        FailsUnpaid("other texts or confidences"),
        trigger(
            "new.emotions_text := new.emotions_text || ' [confidence: ' || new.emotions_confidence || "
            "']'; return new;"
        ),
    ),
    Case(
        "a trigger that fills a further column",
        Fills("on_insert"),
        "alter table song_aboutness add updated_at timestamptz;"
        + trigger("new.updated_at := now(); return new;"),
    ),
    Case(
        "a trigger that writes to a table which the role may not write",
        FailsUnpaid("permission denied for table audit"),
        "create table audit (song_id int);"
        + trigger("insert into audit values (new.song_id); return null;", "after insert"),
    ),
    Case(
        "a rule that swallows inserts",
        FailsUnpaid("swallow"),
        "create rule swallow as on insert to song_aboutness do instead nothing",
    ),
]
