"""The event stream and the long poll: each event once, in order, whatever happens."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from queue import Queue

import pytest
from server.apitools import ADMIN, SCRIPT, fields, messages, problem
from support import eventually

from hpcgate.model.principal import Principal
from hpcgate.server import sse, streams
from hpcgate.server.errors import TooManyStreams
from hpcgate.server.sse import event_frames


def seqs(items):
    return [item["seq"] for item in items]


def take(stream, count):
    return [next(stream) for _ in range(count)]


@pytest.fixture
def live_stream(monkeypatch):
    """An event stream that has caught up with the store, so that what comes next comes from the dispatcher."""

    @contextmanager
    def open_stream(api):
        monkeypatch.setattr(sse, "KEEPALIVE_S", 0.02)
        response = api.get("events", buffered=False)
        chunks = response.iter_encoded()
        while next(chunks) != sse.KEEPALIVE:
            pass
        try:
            yield messages(chunks)
        finally:
            response.close()

    return open_stream


# --- streams


def test_a_stream_has_everything_behind_the_last_event_once_and_in_order(ann):
    ann.submit()
    every = ann.get("events?after=0").json["items"]
    assert [item["type"] for item in every] == ["job.created", "job.state", "job.state"]
    with ann.events("events", headers={"Last-Event-ID": "0"}) as stream:
        old = take(stream, len(every))
        assert [message["data"] for message in old] == every
        assert [message["id"] for message in old] == [str(seq) for seq in seqs(every)]
        assert [message["event"] for message in old] == [item["type"] for item in every]
        ann.submit()
        new = take(stream, 3)
    assert [int(message["id"]) for message in new] == [4, 5, 6]
    with ann.events("events", headers={"Last-Event-ID": "2"}) as stream:
        assert [int(message["id"]) for message in take(stream, 4)] == [3, 4, 5, 6]
    with ann.events("events?after=5", headers={"Accept": "text/event-stream"}) as stream:
        assert int(next(stream)["id"]) == 6


def test_without_a_number_a_stream_begins_now(ann, front):
    ann.submit()
    with ann.events("events") as stream:
        made = threading.Timer(0, lambda: ann.submit(name="later"))
        made.start()
        first = next(stream)
        made.join()
    assert (first["event"], first["data"]["data"]["name"]) == ("job.created", "later")


def test_a_stream_shows_ones_own_and_an_operator_all(ann, bob, root):
    with ann.events("events") as mine, root.events("events") as everybodys:
        bob.submit()
        ann.submit()
        assert {message["data"]["owner"] for message in take(mine, 3)} == {"ann"}
        assert [message["data"]["owner"] for message in take(everybodys, 6)] == ["bob"] * 3 + ["ann"] * 3


def test_a_stream_of_one_job_has_no_others(ann):
    job = ann.submit()
    with ann.events(f"events?job={job['id']}") as stream:
        ann.submit()
        ann.post(f"jobs/{job['id']}/cancel")
        message = next(stream)
    assert (message["event"], message["data"]["job_id"]) == ("job.canceling", job["id"])


def test_nothing_is_left_out_or_doubled_between_store_and_live(ann, gateway, front):
    """Readers that come and go at any moment while jobs are made: together each sees every event once."""
    stop = threading.Event()

    def write():
        while not stop.is_set():
            ann.post("jobs/bulk", {"jobs": [{"script": SCRIPT}] * 3})

    def read(found, seen):
        while len(found) < 150:
            with ann.events("events", headers={"Last-Event-ID": str(seen)}) as stream:
                for message in take(stream, 7):
                    found.append(int(message["id"]))
                    seen = found[-1]

    writer = threading.Thread(target=write)
    results = [[] for _ in range(3)]
    readers = [threading.Thread(target=read, args=(found, 0)) for found in results]
    for thread in (writer, *readers):
        thread.start()
    for thread in readers:
        thread.join()
    stop.set()
    writer.join()
    for found in results:
        assert found == list(range(1, len(found) + 1))


def test_one_reader_of_the_store_feeds_all_streams(ann, gateway, front, monkeypatch):
    asked = []
    read = gateway.events.raw_after
    monkeypatch.setattr(type(gateway.events), "raw_after", lambda self, *args: asked.append(1) or read(*args))
    replayed = []
    replay = gateway.events.after
    monkeypatch.setattr(type(gateway.events), "after", lambda self, *a, **k: replayed.append(1) or replay(*a, **k))
    subscriptions = [front.serving.hub.open(ADMIN) for _ in range(20)]
    found: Queue = Queue()

    def drain(subscription):
        for event in front.serving.hub.follow(subscription, 0, 0.05):
            if event is not None:
                found.put(event.seq)

    threads = [threading.Thread(target=drain, args=(subscription,)) for subscription in subscriptions]
    for thread in threads:
        thread.start()
    eventually(lambda: len(replayed) == 40)
    asked.clear()
    ann.submit()
    eventually(lambda: found.qsize() == 60)
    assert len(replayed) == 40, "live events are not read per stream"
    assert len(asked) <= 10
    front.stop()
    for thread in threads:
        thread.join()
    for subscription in subscriptions:
        subscription.close()


def test_a_stream_that_does_not_keep_up_is_cut_and_can_go_on(live_stream, ann, front, monkeypatch):
    monkeypatch.setattr(streams, "BACKLOG", 5)
    with live_stream(ann) as stream:
        ann.post("jobs/bulk", {"jobs": [{"script": SCRIPT}] * 10})
        eventually(lambda: "hpcgate_cut_streams_total 1.0" in front.serving.metrics.text().decode())
        seen = [int(message["id"]) for message in stream]
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) < 30
    with ann.events("events", headers={"Last-Event-ID": str(len(seen))}) as stream:
        assert [int(message["id"]) for message in take(stream, 30 - len(seen))] == list(range(len(seen) + 1, 31))


def test_a_stream_holds_no_database_connection_while_it_waits(ann, gateway, monkeypatch):
    released = threading.Event()
    release = gateway.release_thread
    with ann.events("events") as stream:
        monkeypatch.setattr(ann._client.application.serving.hub, "release", lambda: (released.set(), release()))
        threading.Timer(0.05, ann.submit).start()
        next(stream)
    assert released.is_set()


def test_a_waiting_stream_says_that_it_lives(front, monkeypatch, ann):
    monkeypatch.setattr(sse, "KEEPALIVE_S", 0.02)
    response = ann.get("events", buffered=False)
    chunks = response.iter_encoded()
    assert next(chunks) == sse.HELLO
    assert next(chunks) == sse.KEEPALIVE
    response.close()


def test_there_are_only_so_many_streams(make_gateway, serve, login):
    front = serve(make_gateway(server={"max_streams": 2}))
    ann = login(front, "ann")
    open_ones = [ann.get("events", buffered=False) for _ in range(2)]
    refused = ann.get("events")
    problem(refused, 503, "too_many_streams")
    assert refused.headers["Retry-After"]
    problem(ann.get("events?wait=1"), 503, "too_many_streams")
    assert "hpcgate_open_streams 2.0" in ann.get("/metrics").text
    for response in open_ones:
        response.close()
    with ann.events("events"):
        pass


def test_a_stop_ends_every_stream_and_refuses_new_ones(ann, front):
    response = ann.get("events", buffered=False)
    chunks = response.iter_encoded()
    next(chunks)
    began = time.monotonic()
    stopper = threading.Timer(0.05, front.stop)
    stopper.start()
    assert list(chunks) == []
    stopper.join()
    assert time.monotonic() - began < 3
    response.close()
    problem(ann.get("events"), 503, "too_many_streams")


def test_a_stream_ends_with_its_token(ann, root, gateway, monkeypatch):
    monkeypatch.setattr(sse, "RECHECK_S", -1.0)
    monkeypatch.setattr(sse, "KEEPALIVE_S", 0.02)
    response = ann.get("events", buffered=False)
    chunks = response.iter_encoded()
    assert next(chunks) == sse.HELLO
    assert next(chunks) == sse.KEEPALIVE
    root("PATCH", "users/ann", {"locked": True})
    assert len(list(chunks)) <= 1
    response.close()


def test_a_store_that_fails_for_a_while_ends_no_stream(live_stream, ann, gateway, monkeypatch, caplog):
    monkeypatch.setattr(streams, "FAILED_PAUSE_S", 0.01)
    broken = threading.Event()
    read = gateway.events.raw_after

    def sometimes(self, *args):
        if broken.is_set():
            raise OSError("disk on fire")
        return read(*args)

    monkeypatch.setattr(type(gateway.events), "raw_after", sometimes)
    with live_stream(ann) as stream:
        ann.submit()
        take(stream, 3)
        broken.set()
        ann.submit()
        eventually(lambda: "disk on fire" in caplog.text)
        broken.clear()
        assert [int(message["id"]) for message in take(stream, 3)] == [4, 5, 6]


@pytest.mark.parametrize("given", ["x", "-1", "1.5", str(2**63), "9" * 5000, "٣"])
def test_a_wrong_last_event_id_is_told(refused, given):
    response = refused.get("events", headers={"Last-Event-ID": given.encode().decode("latin-1")})
    assert "Last-Event-ID" in fields(problem(response, 422, "invalid_spec"))


def test_a_number_that_was_never_given_out_is_told(refused):
    assert "after" in fields(problem(refused.get("events?after=99"), 422, "invalid_spec"))
    assert "after" in fields(problem(refused.get("events", headers={"Last-Event-ID": "99"}), 422, "invalid_spec"))


# --- long poll


def test_a_list_of_what_is_there_comes_at_once(ann):
    ann.submit()
    ann.submit()
    first = ann.get("events?after=0&limit=4").json
    assert seqs(first["items"]) == [1, 2, 3, 4]
    assert first["next"] == 4
    rest = ann.get(f"events?after={first['next']}&wait=20").json
    assert (seqs(rest["items"]), rest["next"]) == ([5, 6], 6)


def test_the_newest_number_is_asked_for_without_waiting(ann):
    assert ann.get("events?wait=0").json == {"items": [], "next": 0}
    ann.submit()
    assert ann.get("events?wait=0").json == {"items": [], "next": 3}
    assert ann.get("events", headers={"Accept": "application/json"}).json == {"items": [], "next": 3}


def test_a_long_poll_waits_for_the_first_event(ann, bob):
    answers: Queue = Queue()
    poller = threading.Thread(target=lambda: answers.put(ann.get("events?after=0&wait=20").json))
    poller.start()
    bob.submit()
    assert answers.empty()
    ann.submit()
    poller.join()
    found = answers.get()
    assert {item["owner"] for item in found["items"]} == {"ann"}
    assert found["next"] == found["items"][-1]["seq"]


def test_a_long_poll_that_waits_in_vain_is_empty(ann, front):
    assert ann.get("events?after=0&wait=0.05").json == {"items": [], "next": 0}
    assert "hpcgate_open_streams 0.0" in front.serving.metrics.text().decode()


def test_a_stop_ends_a_long_poll(ann, front):
    answers: Queue = Queue()
    poller = threading.Thread(target=lambda: answers.put(ann.get("events?after=0&wait=50").json))
    poller.start()
    eventually(lambda: "hpcgate_open_streams 1.0" in front.serving.metrics.text().decode())
    front.stop()
    poller.join()
    assert answers.get() == {"items": [], "next": 0}


@pytest.mark.parametrize("query", ["wait=-1", "wait=56", "wait=x", "after=-1", "after=x", "limit=0", "job=0", "aftr=1"])
def test_wrong_parameters_are_told(refused, query):
    assert query.split("=")[0] in fields(problem(refused.get(f"events?{query}"), 422, "invalid_spec"))


# --- the hub by itself


def test_a_closed_place_can_be_closed_again_and_taken_anew(front):
    hub = front.serving.hub
    place = hub.open(Principal(name="x"))
    place.close()
    place.close()
    hub.join(place)
    assert list(hub.follow(place, 0, 0.01)) == [] if place.ended.is_set() else True
    front.stop()
    with pytest.raises(TooManyStreams, match="stopping"):
        hub.open(ADMIN)


def test_frames_are_one_line_of_json_each(ann, gateway, front):
    job = ann.submit(name="ünï")

    class Always:
        def still_good(self):
            return True

    place = front.serving.hub.open(ADMIN)
    frames = event_frames(front.serving.hub, place, 0, Always())
    next(frames)
    text = next(frames).decode()
    assert text.startswith("id: 1\nevent: job.created\ndata: {")
    assert text.endswith("}\n\n")
    assert text.count("\n") == 4
    assert "ünï" in text
    assert job
    frames.close()
    place.close()


def test_a_cursor_that_is_older_than_what_is_kept_is_told_so(ann, gateway):
    for _ in range(2):
        ann.submit()
    last = gateway.events.last()
    gateway.store.events.prune(1e12)
    ann.submit()
    for headers, query in (({}, f"?after={last - 1}"), ({"Last-Event-ID": str(last - 1)}, "")):
        accept = {"Accept": "text/event-stream"} if headers else {}
        refused = ann.get(f"events{query}", headers={**headers, **accept})
        problem(refused, 410, "events_gone")
        assert f"go on after {last}" in refused.json["detail"]
    assert ann.get(f"events?after={last}").json["items"][0]["seq"] == last + 1
    assert ann.get("events?after=0").json["items"][0]["seq"] == last + 1
