from hpcgate.model.site import SiteHealth


def test_the_health_of_a_site(store):
    assert store.sites.health("ares") == SiteHealth(site="ares")
    store.sites.failed("ares", 5.0, "no route")
    assert store.sites.health("ares") == SiteHealth(site="ares", failed_at=5.0, error="no route", failures=1)
    store.sites.polled("ares", 10.0, commands=2)
    assert store.sites.health("ares") == SiteHealth(site="ares", polled_at=10.0, commands=2, polls=1, failures=1)
    store.sites.failed("ares", 20.0, "refused")
    store.sites.failed("ares", 30.0, "timed out")
    counted = {"commands": 2, "polls": 1, "failures": 3}
    health = SiteHealth(site="ares", polled_at=10.0, failed_at=20.0, error="timed out", **counted)
    assert store.sites.health("ares") == health
    store.sites.polled("helios", 1.0)
    assert store.sites.all() == {"ares": health, "helios": SiteHealth(site="helios", polled_at=1.0, polls=1)}
    store.sites.polled("ares", 40.0, commands=1)
    assert store.sites.health("ares") == SiteHealth(site="ares", polled_at=40.0, commands=3, polls=2, failures=3)
