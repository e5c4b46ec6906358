"""Tests of what becomes of malformed requests: each is answered, none with 500, and the next good one is, too."""

import pytest
from test_client import serving

from benchmarks import server_fuzz
from emotion_tf.serving.server_settings import ServerSettings


# Schemathesis imports what others have deprecated.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_malformed_requests_are_answered_and_so_is_the_next_good_one(loud_predictor):
    with serving(loud_predictor, ServerSettings(timeout_seconds=20, num_workers=1)) as url:
        found = server_fuzz.fuzz(url, 80)
    assert found.faults == []
    assert found.num_good >= 3
    assert min(found.sent[kind] for kind in ("schema", "recordings", "heads", "streams")) >= 15
    assert {"200", "400", "422"} <= set(found.statuses)


def test_what_should_not_be_is_noted():
    found = server_fuzz.Found()
    for status in ("200", "500", "503"):
        found.note("recordings", "a file", lambda status=status: status)
    found.note("heads", "a head", closed)
    found.note("recordings", "a file", closed)
    assert found.faults == ["recordings: 500 of a file", "recordings: closed of a file"]


def closed():
    raise ConnectionResetError
