"""The job replay_failed_songs as the README calls it."""

from collections.abc import Callable

import pytest

from tests.support.catalogue_of_songs import real_songs
from tests.support.dagster_project import DagsterProject
from tests.support.stand_in import StandIn

pytestmark = pytest.mark.thorough


def test_replaying_writes_the_song_that_failed_and_asks_for_no_other(
    make_project: Callable[..., DagsterProject], stand_in: StandIn
) -> None:
    project = make_project([*real_songs(4), (5, "Poisoned Well", "Nobody")])
    stand_in.control({"poison": {"Poisoned Well": "http_400"}})
    project.execute("aboutness_smoke")
    assert project.sql("select array_agg(song_id order by song_id) from song_aboutness") == [([1, 2, 3, 4],)]

    stand_in.reset()
    project.must("replay_failed_songs")
    assert project.sql("select max(song_id), count(*) from song_aboutness") == [(5, 5)]
    asked = [request["songs"] for request in stand_in.requests()["requests"] if request["route"] == "chat"]
    assert [len(songs) for songs in asked] == [1]
