"""Webhooks, from the event to real receivers: good ones, and those that fail, hang, redirect and rebind."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import standardwebhooks
import trustme
from service.pushing import OPERATOR, Receiver, submit, untouchable, working
from support import ANN, BOB, ROOT, eventually

from hpcgate.errors import Conflict, Forbidden, InvalidSpec, NotFound, NotSupported
from hpcgate.gateway import Gateway
from hpcgate.model.principal import Principal, Role
from hpcgate.model.state import JobState
from hpcgate.model.webhook import Delivery, DeliveryState
from hpcgate.service import courier
from hpcgate.service.addresses import AddressRules, url_error
from hpcgate.service.outgoing import Outgoing
from hpcgate.service.webhook_keys import rotated, signed_headers

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "verify_webhook.py"
#: Receivers of tests stand here; every other loopback address is as private as it should be.
HERE = "127.0.0.2"
TABLE = {"allow_http": True, "allowed_networks": [f"{HERE}/32"], "timeout_s": 5.0}


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    with ExitStack() as stack:

        def start(address: str = HERE, **more) -> Receiver:
            found = Receiver(address, **more)
            stack.callback(found.close)
            return found

        yield start


@pytest.fixture
def open_gateway(make_gateway) -> Callable[..., Gateway]:
    def build(**table) -> Gateway:
        gateway = make_gateway(webhooks={**TABLE, **table})
        for user in (ANN, BOB, ROOT):
            with suppress(Conflict):
                gateway.identities.add_user(OPERATOR, user.name, roles=user.roles)
        return gateway

    return build


@pytest.fixture
def quick(monkeypatch):
    """Pauses that a test can wait for."""
    monkeypatch.setattr(courier, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(courier, "MAX_PAUSE_S", 0.05)


def deliveries(gateway, hook, who=ANN, state=None) -> list[Delivery]:
    found = gateway.webhooks.deliveries(who, hook.id, state=state, cursor=None, limit=1000).items
    return sorted(found, key=lambda item: item.number)


def add(gateway, url, who=ANN, **fields):
    return gateway.webhooks.add(who, url=url, **fields)


# --- what is delivered


def test_each_event_comes_once_and_in_order_with_a_signature_that_others_can_check(
    open_gateway, receiver, database_url
):
    gateway = open_gateway()
    there = receiver()
    before = submit(gateway)
    hook, secret = add(gateway, there.url)
    with working(gateway):
        jobs = [submit(gateway) for _ in range(3)]
        submit(gateway, BOB)
        events = [event for event in gateway.events.after(ROOT, 0) if event.owner == "ann"]
        mine = [event.seq for event in events if event.job_id != before.id]
        eventually(lambda: len(there.received) == len(mine))
        eventually(lambda: {item.state for item in deliveries(gateway, hook)} == {DeliveryState.DELIVERED})
    data = [each.message["data"] for each in there.received]
    assert sorted(item["seq"] for item in data) == mine
    for job in jobs:
        of_job = [item["seq"] for item in data if item["job_id"] == job.id]
        assert of_job == sorted(of_job)
    for each in there.received:
        assert each.headers["content-type"] == "application/json"
        assert each.message["type"] in ("job.created", "job.state")
        standardwebhooks.Webhook(secret).verify(each.body, each.headers)
    assert len(set(there.ids)) == len(there.ids)
    other = base64.b64encode(b"x" * 32).decode()
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(other).verify(there.received[0].body, there.received[0].headers)


def test_the_example_of_the_documentation_believes_what_is_signed_only(open_gateway, quick):
    gateway = open_gateway(allowed_networks=["127.0.0.1/32"])
    hook, secret = add(gateway, "http://127.0.0.1:9/")
    example = subprocess.Popen(
        [sys.executable, "-W", "error", str(EXAMPLE), "0"],
        env={"HPCGATE_WEBHOOK_SECRET": secret},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = example.stdout.readline().split()[-1]
        gateway.webhooks.update(ANN, hook.id, url=f"http://127.0.0.1:{port}/")
        forged, _ = add(gateway, f"http://127.0.0.1:{port}/")
        with working(gateway):
            job = submit(gateway)
            said = [example.stdout.readline().split(" ", 2) for _ in range(3)]
            eventually(lambda: all(item.tries > 1 for item in deliveries(gateway, forged)[:1]))
        assert {item.id for item in deliveries(gateway, hook)} == {ident for ident, _, _ in said}
        assert said[0][1] == "job.created"
        assert f'"job_id": {job.id}' in said[0][2]
        assert {item.status for item in deliveries(gateway, forged) if item.tries} == {400}
    finally:
        example.terminate()
        example.communicate()


def test_https_is_checked_by_the_name_and_the_authorities_of_the_operator(open_gateway, receiver, tmp_path, quick):
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    def context(ca, name):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(name).configure_cert(tls)
        return tls

    good = receiver(tls=context(authority, HERE))
    others = [receiver(tls=context(authority, "127.0.0.3")), receiver(tls=context(stranger, HERE))]
    gateway = open_gateway(allow_http=False, ca_file=str(tmp_path / "ca.pem"))
    hook, _ = add(gateway, good.url)
    bad = [add(gateway, each.url)[0] for each in others]
    with working(gateway):
        submit(gateway)
        eventually(lambda: len(good.received) == 3)
        for each in bad:
            eventually(
                lambda each=each: any("CERTIFICATE_VERIFY" in (item.error or "") for item in deliveries(gateway, each))
            )
    assert [each.received for each in others] == [[], []]
    assert hook.enabled


def test_filters_leave_out_what_was_not_asked_for(open_gateway, receiver):
    gateway = open_gateway()
    job = submit(gateway, name="the one")
    asked = {
        "created": {"events": ("job.created",)},
        "queued": {"states": (JobState.QUEUED,)},
        "elsewhere": {"labels": {"team": "x"}},
        "labelled": {"labels": {"team": "y"}, "events": ("job.created",)},
        "here": {"sites": ("fake",), "events": ("job.created",)},
        "one": {"job": job.id},
        "off": {"enabled": False},
        "last": {"states": (JobState.QUEUED,)},
    }
    there = {name: receiver() for name in asked}
    for name, fields in asked.items():
        add(gateway, there[name].url, **fields)
    with working(gateway):
        submit(gateway, labels={"team": "y"})
        gateway.jobs.cancel(ANN, [job.id])
        eventually(lambda: there["last"].received and there["one"].received and there["labelled"].received)
        eventually(lambda: not gateway.webhooks.figures().behind)
        eventually(lambda: not gateway.webhooks.figures().channels["webhook"].waiting)
    types = {name: [each.message["type"] for each in found.received] for name, found in there.items()}
    assert types["created"] == types["labelled"] == types["here"] == ["job.created"]
    assert {each.message["data"]["data"]["new"] for each in there["queued"].received} == {"QUEUED"}
    assert types["elsewhere"] == types["off"] == []
    assert types["one"][0] == "job.canceling"
    assert {each.message["data"]["job_id"] for each in there["one"].received} == {job.id}


def test_the_callback_of_a_job_hears_of_it_from_the_beginning(open_gateway, receiver):
    gateway = open_gateway()
    there = receiver()
    with working(gateway):
        first = submit(gateway, callback=there.url)
        submit(gateway)
        eventually(lambda: len(there.received) == 3)
        assert there.received[0].message["type"] == "job.created"
        assert {each.message["data"]["job_id"] for each in there.received} == {first.id}
        assert not any("webhook-signature" in each.headers for each in there.received)
        secret = gateway.webhooks.rotate_callbacks(ANN)
        submit(gateway, callback=there.url)
        eventually(lambda: len(there.received) == 6)
    for each in there.received[3:]:
        standardwebhooks.Webhook(secret).verify(each.body, each.headers)
    hook = gateway.webhooks.owned(ANN)[0]
    assert (hook.callback, hook.job_id) == (True, first.id)


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        ("ftp://example.org/", "must begin with https:// or http://"),
        ("https://user:pw@example.org/", "no user"),
        ("https://10.0.0.1/", "not public"),
        ("http://[::ffff:127.0.0.1]/", "not public"),
        ("https:///x", "name a host"),
        ("https://example.org:99999/", "is no URL"),
        ("https://example.org/" + "x" * 2048, "2048"),
    ],
)
def test_a_callback_that_could_not_be_called_is_refused_at_submit(open_gateway, callback, said):
    gateway = open_gateway()
    with pytest.raises(InvalidSpec, match=said):
        submit(gateway, callback=callback)
    with pytest.raises(InvalidSpec, match=said):
        add(gateway, callback)


def test_a_callback_of_nobody_or_without_webhooks_is_refused(open_gateway):
    with pytest.raises(InvalidSpec, match="no user of this gateway"):
        submit(open_gateway(), Principal(name="passer-by"), callback="https://example.org/")
    off = open_gateway(enabled=False)
    with pytest.raises(InvalidSpec, match="calls no webhooks"):
        submit(off, callback="https://example.org/")
    with pytest.raises(NotSupported):
        add(off, "https://example.org/")


# --- bad receivers


def test_a_failing_receiver_is_tried_again_under_the_same_id(open_gateway, receiver, quick):
    gateway = open_gateway()
    there = receiver()
    there.answer = lambda number: (500, {}) if number < 4 else (200, {})
    hook, secret = add(gateway, there.url, events=("job.created",))
    with working(gateway):
        submit(gateway)
        eventually(lambda: deliveries(gateway, hook, state=DeliveryState.DELIVERED))
    assert len(there.ids) == 4
    assert len(set(there.ids)) == 1
    for each in there.received:
        standardwebhooks.Webhook(secret).verify(each.body, each.headers)
    (delivery,) = deliveries(gateway, hook)
    assert (delivery.tries, delivery.status, delivery.error) == (4, 200, None)
    assert gateway.webhooks.figures().channels["webhook"].failed == 3


def test_what_is_not_taken_in_time_is_a_dead_letter_and_can_be_sent_again(open_gateway, receiver, quick):
    gateway = open_gateway(retry_for_s=1)
    there = receiver()
    there.answer = lambda number: (500, {})
    hook, _ = add(gateway, there.url, events=("job.created",))
    with working(gateway):
        submit(gateway)
        eventually(lambda: deliveries(gateway, hook, state=DeliveryState.DEAD))
        figures = gateway.webhooks.figures()
        assert (figures.dead_letters, figures.channels["webhook"].dead) == (1, 1)
        (dead,) = deliveries(gateway, hook)
        assert dead.error == "the receiver answered 500"
        there.answer = lambda number: (204, {})
        assert gateway.webhooks.redeliver_dead(ANN, hook.id) == 1
        eventually(lambda: deliveries(gateway, hook, state=DeliveryState.DELIVERED))
        assert set(there.ids) == {dead.id}
        tries = len(there.ids)
        gateway.webhooks.redeliver(ANN, hook.id, dead.id)
        eventually(lambda: len(there.ids) == tries + 1)


def test_one_that_hangs_keeps_nobody_else_waiting(open_gateway, receiver):
    gateway = open_gateway(timeout_s=60.0, senders=4)
    hanging = [receiver() for _ in range(6)]
    for each in hanging:
        each.silent.set()
        add(gateway, each.url)
    good = receiver()
    add(gateway, good.url, BOB)
    with working(gateway):
        for _ in range(3):
            submit(gateway)
        eventually(lambda: sum(len(each.received) for each in hanging) >= 2)
        for _ in range(5):
            submit(gateway, BOB)
        eventually(lambda: len(good.received) == 15)
    # And the end did not wait for them: the worker cut what was under way, and it is due still.
    assert gateway.webhooks.figures().channels["webhook"].waiting == 6 * 9


def test_one_that_does_not_answer_in_time_is_left_alone_for_a_while(open_gateway, receiver):
    gateway = open_gateway(timeout_s=0.2)
    there = receiver()
    there.silent.set()
    hook, _ = add(gateway, there.url)
    with working(gateway):
        for _ in range(5):
            submit(gateway)
        eventually(lambda: any(item.tries for item in deliveries(gateway, hook)))
        eventually(lambda: not gateway.webhooks.figures().behind)
    tried = [item for item in deliveries(gateway, hook) if item.tries]
    assert all(item.error == "no answer within 0.2 s" for item in tried)
    assert len(there.received) <= courier.PER_RECEIVER


def test_a_redirect_is_not_followed(open_gateway, receiver, quick):
    gateway = open_gateway()
    there = receiver()
    with untouchable() as (port, touched):
        there.answer = lambda number: (302 if number % 2 else 307, {"Location": f"http://127.0.0.1:{port}/secret"})
        hook, _ = add(gateway, there.url, events=("job.created",))
        with working(gateway):
            submit(gateway)
            # What the fourth try has brought is written once it has ended.
            eventually(lambda: any(item.tries >= 4 for item in deliveries(gateway, hook)))
        assert touched == []
    assert "redirects are not followed" in deliveries(gateway, hook)[0].error


def test_a_name_that_leads_home_is_refused_at_each_delivery(open_gateway, quick):
    gateway = open_gateway()
    with untouchable() as (port, touched):
        hook, _ = add(gateway, f"http://localhost:{port}/", events=("job.created",))
        with working(gateway):
            submit(gateway)
            eventually(lambda: any(item.tries >= 3 for item in deliveries(gateway, hook)))
        assert touched == []
    assert "no address that may be called" in deliveries(gateway, hook)[0].error


def test_a_receiver_that_is_gone_is_switched_off(open_gateway, receiver):
    gateway = open_gateway()
    there = receiver()
    there.answer = lambda number: (410, {})
    hook, _ = add(gateway, there.url)
    with working(gateway):
        submit(gateway)
        eventually(lambda: not gateway.webhooks.get(ANN, hook.id).enabled)
        eventually(lambda: {item.state for item in deliveries(gateway, hook)} == {DeliveryState.DEAD})
        with pytest.raises(Conflict, match="switched off"):
            gateway.webhooks.ping(ANN, hook.id)
        assert gateway.webhooks.get(ANN, hook.id).disabled_reason == "the receiver answered 410 Gone"
        there.answer = lambda number: (200, {})
        tried = len(there.received)
        assert gateway.webhooks.update(ANN, hook.id, enabled=True).disabled_reason is None
        ping = gateway.webhooks.ping(ANN, hook.id)
        eventually(lambda: there.ids[tried:] == [ping.id])
    assert there.received[-1].message["type"] == "webhook.ping"


def test_a_queue_that_is_full_loses_nothing_silently(open_gateway, receiver):
    gateway = open_gateway(max_waiting=2)
    hook, _ = add(gateway, f"http://{HERE}:9/")
    with working(gateway):
        submit(gateway)
        eventually(lambda: len(deliveries(gateway, hook)) == 3)
    assert [item.error for item in deliveries(gateway, hook, state=DeliveryState.DEAD)] == [
        "too many messages waited already"
    ]


# --- people


def test_hooks_of_the_locked_and_the_gone_stop(open_gateway, receiver, quick):
    gateway = open_gateway()
    there = receiver()
    there.answer = lambda number: (500, {})
    hook, _ = add(gateway, there.url)
    with working(gateway):
        submit(gateway)
        eventually(lambda: there.received)
        gateway.identities.update_user(OPERATOR, "ann", locked=True)
        eventually(lambda: {item.state for item in deliveries(gateway, hook)} == {DeliveryState.DEAD})
        submit(gateway)
        eventually(lambda: not gateway.webhooks.figures().behind)
        assert len(deliveries(gateway, hook)) == 3
    gateway.identities.remove_user(OPERATOR, "ann")
    gateway.identities.add_user(OPERATOR, "ann")
    assert gateway.webhooks.owned(ANN) == []
    with pytest.raises(NotFound):
        gateway.webhooks.get(ROOT, hook.id)


def test_who_asks_for_everybodys_must_be_able_to_see_them_then(open_gateway, receiver):
    gateway = open_gateway()
    there, own = receiver(), receiver()
    with pytest.raises(Forbidden, match="its own jobs only"):
        add(gateway, there.url, everybody=True)
    add(gateway, there.url, ROOT, everybody=True, events=("job.created",))
    add(gateway, own.url, ROOT, events=("job.created",))
    with working(gateway):
        submit(gateway)
        submit(gateway, ROOT)
        eventually(lambda: len(there.received) == 2)
        gateway.identities.update_user(OPERATOR, "root", roles=[Role.USER])
        submit(gateway)
        submit(gateway, ROOT)
        eventually(lambda: len(there.received) == 3 and len(own.received) == 2)
    owners = [each.message["data"]["owner"] for each in there.received]
    assert (sorted(owners[:2]), owners[2:]) == (["ann", "root"], ["root"])  # of two jobs any may come first


def test_a_client_that_acts_for_somebody_leaves_no_hook_behind(open_gateway):
    gateway = open_gateway()
    portal = replace(ANN, delegate="portal")
    hook, _ = add(gateway, "https://example.org/")
    for verb in (
        lambda: add(gateway, "https://example.org/", portal),
        lambda: gateway.webhooks.update(portal, hook.id, url="https://example.net/"),
        lambda: gateway.webhooks.rotate(portal, hook.id),
        lambda: gateway.webhooks.rotate_callbacks(portal),
    ):
        with pytest.raises(Forbidden, match="may not manage webhooks"):
            verb()


def test_there_are_only_so_many_hooks_and_callbacks_do_not_count(open_gateway):
    gateway = open_gateway(max_per_user=1)
    submit(gateway, callback="https://example.org/")
    add(gateway, "https://example.org/")
    with pytest.raises(Conflict, match="has 1 webhooks"):
        add(gateway, "https://example.org/")
    add(gateway, "https://example.org/", BOB)


def test_the_hook_of_a_job_goes_some_time_after_it(open_gateway, receiver):
    gateway = open_gateway()
    submit(gateway, callback="https://example.org/")
    (hook,) = gateway.webhooks.owned(ANN)
    job = gateway.jobs.get(ANN, hook.job_id)
    assert gateway.store.webhooks.prune(job.created_at + 1e6) == 0
    gateway.jobs.cancel(ANN, [job.id])
    ended = eventually(lambda: gateway.worker().step() or gateway.jobs.get(ANN, job.id).ended_at)
    assert gateway.store.webhooks.prune(ended - 1) == 0
    assert gateway.store.webhooks.prune(ended + 1) == 1


# --- several workers


def test_of_two_workers_one_sends_and_the_other_takes_over(open_gateway, receiver, database_url):
    gateways = [open_gateway() for _ in range(2)]
    there = receiver()
    add(gateways[0], there.url)
    with working(gateways[1]):
        with working(gateways[0]):
            for _ in range(5):
                submit(gateways[0])
            eventually(lambda: len(there.received) >= 5)
        for _ in range(5):
            submit(gateways[1])
        eventually(lambda: len(set(there.ids)) == 30)
    # What the first one had sent and not yet noted when it was stopped may have come twice, under the same id.
    assert len(there.ids) <= 30 + courier.PER_RECEIVER


# --- keys


def test_for_a_day_both_keys_are_good():
    first = rotated({}, 0)
    second = rotated(first, 1000)
    for now, good in ((1001, 2), (1000 + 86_401, 1)):
        assert len(signed_headers(second, "msg_1", b"{}", now)["webhook-signature"].split()) == good
    assert second["previous"] == first["current"]
    assert "webhook-signature" not in signed_headers({}, "msg_1", b"{}", 1)


def test_only_its_owner_gets_a_new_key_and_it_is_used_at_once(open_gateway, receiver):
    gateway = open_gateway()
    there = receiver()
    hook, old = add(gateway, there.url)
    with pytest.raises(Forbidden, match="only 'ann'"):
        gateway.webhooks.rotate(ROOT, hook.id)
    with pytest.raises(NotFound):
        gateway.webhooks.rotate(BOB, hook.id)
    new = gateway.webhooks.rotate(ANN, hook.id)
    with working(gateway):
        gateway.webhooks.ping(ANN, hook.id)
        eventually(lambda: there.received)
    for secret in (old, new):
        standardwebhooks.Webhook(secret).verify(there.received[0].body, there.received[0].headers)
    database = b"".join(path.read_bytes() for path in gateway.config.home.glob("hpcgate.db*"))
    assert hook.id.encode() in database
    for secret in (old, new):
        assert secret.removeprefix("whsec_").encode() not in database


# --- addresses


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 240.0.0.1 "
    "198.18.0.1 ::1 :: fe80::1 fc00::1 fd00:ec2::254 ff02::1 ::ffff:10.0.0.1 2002:7f00:1:: 64:ff9b::a00:1 ::127.0.0.1 "
    "2001:db8::1 fec0::1".split(),
)
def test_addresses_that_are_not_public_are_refused_unless_listed(address):
    literal = f"[{address}]" if ":" in address else address
    assert url_error(f"https://{literal}/", AddressRules(), allow_http=False) is not None
    if not address.startswith(("::ffff", "2002")):
        whole = AddressRules.of([f"{address}/{128 if ':' in address else 32}"])
        assert url_error(f"https://{literal}/", whole, allow_http=False) is None


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "2002:808:808::"])
def test_public_addresses_may_be_called(address):
    literal = f"[{address}]" if ":" in address else address
    assert url_error(f"https://{literal}/", AddressRules(), allow_http=False) is None


@pytest.fixture
def outgoing():
    """Sends by a resolver that a test has written."""

    def build(resolver, timeout_s=5.0):
        return Outgoing(AddressRules.of([f"{HERE}/32"]), timeout_s, ssl.create_default_context(), resolver)

    return build


def test_a_name_that_leads_elsewhere_the_next_time_is_seen_through(receiver, outgoing):
    there = receiver()
    with untouchable() as (port, touched):
        answers = iter([HERE, "127.0.0.1", "127.0.0.1"])
        asked = []

        def rebinding(host, given):
            asked.append((host, given))
            return [next(answers)]

        out = outgoing(rebinding)
        assert out.post(f"http://rebinding.example:{there.port}/", {}, b"{}").status == 204
        # The name was asked for once: what was looked at is what was connected to.
        assert asked == [("rebinding.example", there.port)]
        assert there.received[0].headers["host"] == f"rebinding.example:{there.port}"
        with pytest.raises(OSError, match="no address that may be called"):
            out.post(f"http://rebinding.example:{port}/", {}, b"{}")
        assert touched == []


def test_of_several_addresses_only_good_ones_are_called(receiver, outgoing):
    there = receiver()
    out = outgoing(lambda host, port: ["127.0.0.1", "::1", HERE])
    with untouchable(port=there.port) as (_, touched):
        assert out.post(f"http://mixed.example:{there.port}/", {}, b"{}").status == 204
        assert touched == []


def test_a_receiver_that_drips_does_not_outlast_the_time_limit(outgoing):
    with socket.create_server((HERE, 0)) as server:
        ending = threading.Event()

        def drip():
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not ending.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        out = outgoing(lambda host, port: [HERE], timeout_s=0.4)
        with pytest.raises(OSError, match="no answer within"):
            out.post(f"http://dripping.example:{server.getsockname()[1]}/", {}, b"{}")
        ending.set()
        thread.join()


def test_proxies_of_the_environment_are_not_asked(receiver, outgoing, monkeypatch):
    there = receiver()
    with untouchable() as (port, touched):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        assert outgoing(lambda host, port: [HERE]).post(there.url, {}, b"{}").status == 204
        assert touched == []
