"""Cases of the columns of song_aboutness."""

from tests.databases.case import Case, FailsUnpaid, Fills

ENUM = """
create type confidence as enum ({labels});
alter table song_aboutness
    alter emotions_confidence type confidence using null,
    alter moments_confidence type confidence using null
"""


def enum(*labels: str) -> str:
    """Both confidences as an enum with these labels."""
    return ENUM.replace("{labels}", ", ".join(f"'{label}'" for label in labels))


CONFIDENCES = [
    Case("confidences as an enum of the three words", Fills(), enum("low", "medium", "high")),
    Case("confidences as Prisma's enum in capitals", Fills(), enum("LOW", "MEDIUM", "HIGH")),
    Case(
        "confidences as an enum in title case, with a label more",
        Fills(),
        enum("None", "Low", "Medium", "High"),
    ),
    Case(
        "an enum that lacks one of the three",
        FailsUnpaid("an enum of LOW, HIGH, not of low, medium and high"),
        enum("LOW", "HIGH"),
    ),
    Case(
        "an enum of other words",
        FailsUnpaid("an enum of weak, fair, strong, not of low, medium and high"),
        enum("weak", "fair", "strong"),
    ),
    Case(
        "confidences as numbers",
        FailsUnpaid("invalid input syntax for type smallint"),
        "alter table song_aboutness alter emotions_confidence type smallint using null,"
        " alter moments_confidence type smallint using null",
    ),
    Case(
        'confidences too short for "medium"',
        FailsUnpaid("value too long for type character varying(5)"),
        "alter table song_aboutness alter emotions_confidence type varchar(5)",
    ),
    Case(
        "confidences as char(6)",
        Fills(),
        "alter table song_aboutness alter emotions_confidence type char(6), alter moments_confidence "
        "type char(6)",
    ),
    Case(
        "a CHECK that allows the three words in capitals only",
        Fills(),
        "alter table song_aboutness add check (emotions_confidence in ('LOW', 'MEDIUM', 'HIGH'))",
    ),
    Case(
        "a CHECK that refuses one of the three",
        FailsUnpaid('violates check constraint "sure"'),
        "alter table song_aboutness add constraint sure check (moments_confidence <> 'low')",
    ),
    Case(
        "confidences as a domain of the three words",
        Fills(),
        "create domain confidence as text check (value in ('low', 'medium', 'high'));"
        " alter table song_aboutness alter emotions_confidence type confidence, alter "
        "moments_confidence type confidence",
    ),
]

TEXTS = [
    Case(
        "a CHECK on the length of texts, below 100",
        FailsUnpaid('violates check constraint "short"'),
        "alter table song_aboutness add constraint short check (char_length(emotions_text) <= 60)",
    ),
    Case(
        "a text column of fewer than 100 characters",
        FailsUnpaid("value too long for type character varying(80)"),
        "alter table song_aboutness alter moments_text type varchar(80)",
    ),
    Case(
        "texts as varchar(100)",
        Fills(),
        "alter table song_aboutness alter emotions_text type varchar(100), alter moments_text type "
        "varchar(100)",
    ),
    Case(
        "texts that may be null",
        Fills(),
        "alter table song_aboutness alter emotions_text drop not null, alter moments_text drop not null",
    ),
    Case(
        "texts as JSON",
        FailsUnpaid("emotions_text has type jsonb"),
        "alter table song_aboutness alter emotions_text type jsonb using null",
    ),
]

FURTHER_COLUMNS = [
    Case(
        "created_at NOT NULL without a default",
        FailsUnpaid("created_at must be given a value"),
        "alter table song_aboutness alter created_at drop default",
    ),
    Case(
        "created_at that stays null",
        FailsUnpaid("created_at of a new row is null"),
        "alter table song_aboutness alter created_at drop default, alter created_at drop not null",
    ),
    Case(
        "created_at without a time zone, as Prisma makes it",
        FailsUnpaid("created_at has type timestamp"),
        "alter table song_aboutness alter created_at type timestamp(3)",
    ),
    Case(
        "created_at named createdAt, as Prisma makes it",
        FailsUnpaid("created_at is missing"),
        'alter table song_aboutness rename created_at to "createdAt"',
    ),
    Case(
        "created_at with a default that lies before the rollout",
        FailsUnpaid("created_at of a new row is 2020-01-01"),
        "alter table song_aboutness alter created_at set default '2020-01-01 12:00+00';"
        " alter database {database} set timezone = 'UTC'",
    ),
    Case(
        "a further column that is NOT NULL without a default (Prisma's @updatedAt)",
        FailsUnpaid("updatedAt"),
        'alter table song_aboutness add "updatedAt" timestamptz not null',
    ),
    Case(
        "further columns that are nullable or have defaults",
        Fills(),
        "alter table song_aboutness add reviewed_by text, add version int not null default 1",
    ),
    Case(
        "a further column that is an identity",
        Fills("sequences: "),
        "alter table song_aboutness add id bigint generated always as identity",
    ),
    Case(
        "a further column whose sequence the role may not use",
        FailsUnpaid("permission denied for sequence song_aboutness_id_seq"),
        "alter table song_aboutness add id serial",
    ),
    Case(
        "a further column that is generated",
        Fills(),
        "alter table song_aboutness add length int generated always as (char_length(emotions_text)) stored",
    ),
    Case(
        "song_id as an identity that takes no value",
        FailsUnpaid('cannot insert a non-DEFAULT value into column "song_id"'),
        "alter table song_aboutness alter song_id add generated always as identity",
    ),
    Case(
        "song_id as an identity that takes values",
        Fills(),
        "alter table song_aboutness alter song_id add generated by default as identity",
    ),
    Case(
        "a text that is generated",
        FailsUnpaid('cannot insert a non-DEFAULT value into column "moments_text"'),
        "alter table song_aboutness drop moments_text,"
        " add moments_text text generated always as (upper(emotions_text)) stored",
    ),
    Case(
        "a column that is missing",
        FailsUnpaid("moments_confidence is missing"),
        "alter table song_aboutness drop moments_confidence",
    ),
]
