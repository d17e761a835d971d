"""The columns of songs and song_aboutness, as Dagster's UI shows them."""

import dagster as dg


def _column(
    name: str, kind: str, description: str, *, nullable: bool = False, unique: bool = False
) -> dg.TableColumn:
    return dg.TableColumn(
        name,
        kind,
        description=description,
        constraints=dg.TableColumnConstraints(nullable=nullable, unique=unique),
    )


SONGS_COLUMNS = dg.TableSchema(
    columns=[
        _column("song_id", "integer, bigint, text or uuid", "Primary key.", unique=True),
        _column("title", "text", "Title as the service spells it.", nullable=True),
        _column("artist", "text", "Artists, joined by ';'.", nullable=True),
    ]
)

_CONFIDENCE = "low, medium or high: how well the model knows the song."

ABOUTNESS_COLUMNS = dg.TableSchema(
    columns=[
        _column("song_id", "type of songs.song_id", "Primary key.", unique=True),
        _column("emotions_text", "text", "What the song makes one feel; 1 to 100 characters."),
        _column("emotions_confidence", "text", _CONFIDENCE, nullable=True),
        _column("emotions_vector", "vector, halfvec or array", "Embedding of emotions_text.", nullable=True),
        _column("moments_text", "text", "When and where one would play it; 1 to 100 characters."),
        _column("moments_confidence", "text", _CONFIDENCE, nullable=True),
        _column("moments_vector", "vector, halfvec or array", "Embedding of moments_text.", nullable=True),
        _column(
            "created_at",
            "timestamptz",
            "When the row was inserted; earlier than the rollout means old-style.",
        ),
    ]
)
