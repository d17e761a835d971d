"""The composition root: builds everything that a run needs from the settings. Below it nobody sees them."""

from aboutness_assets.pipeline.session.databases import (
    REPLICA_SETTING,
    Catalogue,
    look_at_databases,
    open_catalogue,
    open_own_database,
    open_replica,
    open_service_pool,
    read_aboutness_table,
    songs_id_type,
)
from aboutness_assets.pipeline.session.opening import opened
from aboutness_assets.pipeline.session.provider import endpoint_lines, read_terms
from aboutness_assets.pipeline.session.session import Session, open_session, open_unrecorded

__all__ = [
    "REPLICA_SETTING",
    "Catalogue",
    "Session",
    "endpoint_lines",
    "look_at_databases",
    "open_catalogue",
    "open_own_database",
    "open_replica",
    "open_service_pool",
    "open_session",
    "open_unrecorded",
    "opened",
    "read_aboutness_table",
    "read_terms",
    "songs_id_type",
]
