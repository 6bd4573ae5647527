"""Who gets in: tokens and X.509 proxies, in the header that Rimrock has."""

from __future__ import annotations

import base64
import os

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from hpcgate_dialect_rimrock import plugin
from hpcgate_dialect_rimrock.proxies import Proxies
from hpcgate_dialect_rimrock.settings import Settings
from rimrock_bench import ADMIN, HERE, in_shape, open_bench, proxy
from small_ca import HOUR, INDEPENDENT, INHERIT_ALL, LIMITED, NOW, RSA, Authority, info, key

from hpcgate.errors import ConfigError, InvalidSpec
from hpcgate.model.codec import decode

CA, OTHER = Authority(), Authority("Grid CA", number=1)
ANN = CA.user()
DN = "/C=PL/O=GRID/CN=plgann"


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    """A folder of authorities and revocation lists, as fetch-crl keeps it."""
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "ca.pem").write_bytes(CA.pem)
    (folder / "ca.0").write_bytes(CA.pem)
    (folder / "ca.r0").write_bytes(CA.crl())
    (folder / "ca.info").write_text("not for us")
    return folder


@pytest.fixture(scope="module")
def grid(trusted, tmp_path_factory):
    settings = {"ca": str(trusted), "crl": str(trusted), "users": {DN: "ann", "CN=plgbob, O=GRID, C=PL": "bob"}}
    with open_bench(tmp_path_factory.mktemp("grid") / "gateway", x509=settings) as bench:
        yield bench


def get(bench, plain):
    return bench.ask("GET", "/api/jobs", proxy_text=plain)


def refused(bench, plain, why):
    told = in_shape(get(bench, plain), 403)
    assert why in told["error_message"]
    assert "-----" not in told["error_message"]


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
@pytest.mark.parametrize("number", [3, RSA])
def test_a_proxy_is_good(grid, form, number):
    assert get(grid, ANN.proxy(number=number).pem(form=form)).status_code == 200


def test_whose_job_it_is_says_the_name_of_the_user(grid):
    pem = ANN.proxy().pem()
    body = {"host": "ares", "script": "#!/bin/sh\n"}
    started = grid.ask("POST", "/api/jobs", body, proxy_text=pem)
    assert started.status_code == 201, started.text
    job_id = started.json["job_id"]
    assert grid.ask("GET", f"/api/jobs/{job_id}").status_code == 200, "ann's token sees it too"
    in_shape(grid.ask("GET", f"/api/jobs/{job_id}", proxy_text=CA.user("plgbob").proxy().pem()), 404)


def test_a_proxy_of_a_proxy_is_good(grid):
    assert get(grid, ANN.proxy().proxy(number=4).pem()).status_code == 200
    assert get(grid, ANN.proxy(path_length=1).proxy(number=4).pem()).status_code == 200
    refused(grid, ANN.proxy(path_length=0).proxy(number=4).pem(), "proxy path length constraint exceeded")


def test_the_certificate_of_the_user_itself_is_good(grid):
    assert get(grid, ANN.pem()).status_code == 200


@pytest.mark.parametrize("language", [LIMITED, INDEPENDENT])
def test_a_proxy_that_may_not_do_everything_starts_no_jobs(grid, language):
    refused(grid, ANN.proxy(language).pem(), "limited or independent")
    refused(grid, ANN.proxy(language).proxy(number=4).pem(), "limited or independent")


def test_a_proxy_that_is_over_or_not_yet_begun(grid):
    refused(grid, ANN.proxy(since=NOW - 3 * HOUR, until=NOW - HOUR).pem(), "certificate has expired")
    refused(grid, ANN.proxy(since=NOW + HOUR, until=NOW + 2 * HOUR).pem(), "not yet valid")
    old = CA.user(until=NOW - HOUR)
    refused(grid, old.proxy().pem(), "certificate has expired")


def test_the_authority_must_be_one_that_is_believed(grid):
    refused(grid, OTHER.user().proxy().pem(), "signature")
    refused(grid, Authority("Nobody", number=1).user().proxy().pem(), "issuer certificate")


def test_a_user_whom_nobody_knows(grid):
    refused(grid, CA.user("plgeve").proxy().pem(), "nobody here has the certificate of '/C=PL/O=GRID/CN=plgeve'")


def test_a_user_who_is_locked(grid):
    grid.gateway.identities.update_user(ADMIN, "bob", locked=True)
    refused(grid, CA.user("plgbob").proxy().pem(), "user 'bob' does not exist, or is locked")
    grid.gateway.identities.update_user(ADMIN, "bob", locked=False)


def test_a_name_that_the_user_did_not_sign_for(grid):
    """A proxy that names somebody else than its issuer with one name more."""
    mallory, ann = CA.user("plgbob"), ANN
    forged = ann.proxy()
    stolen = type(forged)(mallory.issue(forged.certificate.subject, 3), key(3), (mallory.certificate, ann.certificate))
    refused(grid, stolen.pem(), "the proxy is not accepted")


def test_what_else_is_sent_says_nothing_of_who_it_is(grid):
    """Certificates that nobody has verified, and that would lead from a good proxy to another's name."""
    bob = CA.user("plgbob")
    good = bob.proxy()
    subject = bob.certificate.subject
    forged = ANN.issue(subject, 3, (info(INHERIT_ALL), True))
    assert forged.issuer == ANN.certificate.subject
    for extra in ((forged, ANN.certificate), (ANN.certificate, forged)):
        sent = type(good)(good.certificate, good.key, (bob.certificate, *extra))
        started = grid.ask("POST", "/api/jobs", {"host": "ares", "script": "#!/bin/sh\n"}, proxy_text=sent.pem())
        assert started.status_code == 201
        in_shape(grid.ask("GET", f"/api/jobs/{started.json['job_id']}", user="ann"), 404)


def test_the_private_key_must_be_there_and_be_its_own(grid):
    good = ANN.proxy()
    refused(grid, good.pem(with_key=False), "one private key, not 0")
    refused(grid, good.pem() + ANN.pem(), "one private key, not 2")
    refused(grid, type(good)(good.certificate, key(4), good.chain).pem(), "is not that of its certificate")
    locked = key(3).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw"))
    refused(grid, good.pem(with_key=False) + locked, "one private key, not 0")


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "no certificate or plain private key"),
        (b"-----BEGIN CERTIFICATE-----", "certificates, not 0"),
        (ANN.proxy().pem(chain=False), "issuer certificate"),
        (CA.holder.pem(), "nobody here"),
    ],
)
def test_what_is_no_proxy(grid, pem, why):
    refused(grid, pem, why)


def test_a_chain_without_an_end(grid):
    refused(grid, ANN.proxy().pem() + ANN.certificate.public_bytes(Encoding.PEM) * 20, "1 to 12 certificates, not 22")


def test_a_proxy_of_20_kilobytes(grid):
    large = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(10_400))
    pem = ANN.proxy(more=((large, False),)).pem()
    assert 20_000 < len(proxy(pem)) < 24_000
    assert get(grid, pem).status_code == 200


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("not base64!", "not base64"),
        ("a", "not base64"),
        ("", "none"),
        (base64.b64encode(b"\xff\xfe").decode(), "none"),
        (base64.b64encode(b"some text").decode(), "not"),
    ],
)
def test_a_header_that_holds_neither(grid, header, why):
    answer = grid.client.get("/rimrock/api/jobs", headers={"PROXY": header}, environ_base=HERE)
    assert why in in_shape(answer, 403)["error_message"]


def test_no_header_at_all(grid):
    told = in_shape(grid.ask("GET", "/api/jobs", user=None), 403)
    assert told["error_message"] == "a credential is needed: send it as 'PROXY: BASE64'"


def test_a_token_may_come_as_everywhere_else(grid):
    headers = {"Authorization": f"Bearer {grid.tokens['ann']}"}
    assert grid.client.get("/rimrock/api/jobs", headers=headers, environ_base=HERE).status_code == 200


def test_line_breaks_in_a_token_file_do_no_harm(grid):
    assert get(grid, grid.tokens["ann"] + "\n").status_code == 200
    folded = {"PROXY": base64.encodebytes(grid.tokens["ann"].encode()).decode().replace("\n", " ")}
    assert grid.client.get("/rimrock/api/jobs", headers=folded, environ_base=HERE).status_code == 200


def test_revocation_is_heard_of_while_the_server_runs(grid, trusted):
    """Also with a proxy that was made before."""
    pem, lists = ANN.proxy().pem(), trusted / "ca.r0"
    assert get(grid, pem).status_code == 200
    lists.write_bytes(CA.crl(ANN))
    try:
        refused(grid, pem, "certificate revoked")
        lists.write_bytes(CA.crl(until=NOW - HOUR))
        refused(grid, pem, "CRL has expired")
        lists.write_bytes(b"")
        refused(grid, pem, "unable to get certificate CRL")
    finally:
        lists.write_bytes(CA.crl())
        os.utime(lists)
    assert get(grid, pem).status_code == 200


def test_files_that_cannot_be_read_for_a_while_leave_what_was_read_in_force(grid, trusted):
    (trusted / "ca.pem").rename(trusted / "ca.away")
    (trusted / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    try:
        assert get(grid, ANN.proxy().pem()).status_code == 200
    finally:
        (trusted / "ca.away").rename(trusted / "ca.pem")


def test_without_the_table_proxies_are_not_taken(bench):
    refused(bench, ANN.proxy().pem(), "X.509 proxies are not taken here")


def test_nothing_of_a_proxy_is_logged(grid, caplog):
    caplog.set_level("DEBUG")
    pem = ANN.proxy().pem()
    for plain in (pem, OTHER.user().proxy().pem(), pem[:-40], pem.replace(b"BEGIN", b"BEGUN")):
        get(grid, plain)
    text = caplog.text
    assert "rimrock" in text
    for line in pem.splitlines():
        assert line.decode() not in text
    assert proxy(pem)[:40] not in text


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"ca": "/no/such/file", "users": {}}, r"\[dialects.rimrock.settings.x509\] '/no/such/file' cannot be read"),
        ({"ca": os.devnull, "users": {}}, "holds no certificate"),
        ({"users": {}}, "x509.ca"),
        ({"ca": "x", "users": {}, "cas": 1}, "x509.cas"),
    ],
)
def test_a_table_that_is_wrong(table, message):
    with pytest.raises((ConfigError, InvalidSpec), match=message):
        Proxies(decode(Settings, {"x509": table}).x509)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout_s": 0}, "timeout_s: 0 is out of range; it must be 0.5 to 600"),
        ({"default_directory": "work"}, "default_directory: 'work' is neither home nor job"),
        ({"timezone": "Mars"}, "timezone: 'Mars' is no time zone"),
        ({"proces": True}, "proces"),
    ],
)
def test_settings_that_are_wrong(settings, message):
    with pytest.raises(InvalidSpec, match=message):
        decode(Settings, settings)


def test_where_they_stand_is_told(tmp_path):
    with (
        pytest.raises(ConfigError, match=r"dialects\.rimrock\.settings"),
        open_bench(tmp_path / "gateway", timeout_s=0),
    ):
        pass


def test_without_the_extra_the_table_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "hpcgate_dialect_rimrock.proxies", None)
    with (
        pytest.raises(ConfigError, match=r"pip install 'hpcgate-dialect-rimrock\[x509\]'"),
        open_bench(tmp_path / "gateway", x509={"ca": "x", "users": {}}),
    ):
        assert plugin
