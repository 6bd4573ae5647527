from hpcgate.model.lease import Lease


def test_a_lease_is_held_by_one(store):
    lease = store.leases.acquire("site:ares", "w1", 10.0, now=100.0)
    assert lease == Lease("site:ares", "w1", 1, 110.0) == store.leases.get("site:ares")
    assert store.leases.acquire("site:ares", "w2", 10.0, now=109.9) is None
    assert store.leases.acquire("site:helios", "w2", 10.0, now=100.0) == Lease("site:helios", "w2", 1, 110.0)
    assert store.leases.get("site:other") is None


def test_the_holder_gets_its_own_again(store):
    store.leases.acquire("x", "w1", 10.0, now=100.0)
    assert store.leases.acquire("x", "w1", 10.0, now=105.0) == Lease("x", "w1", 1, 115.0)


def test_a_lease_that_is_over_is_taken_over_with_a_higher_token(store):
    old = store.leases.acquire("x", "w1", 10.0, now=100.0)
    new = store.leases.acquire("x", "w2", 10.0, now=110.0)
    assert new == Lease("x", "w2", 2, 120.0)
    assert store.leases.renew(old, 10.0, now=111.0) is None
    store.leases.release(old)
    assert store.leases.get("x") == new
    assert store.leases.renew(new, 10.0, now=115.0) == Lease("x", "w2", 2, 125.0)


def test_a_lease_that_is_over_but_not_taken_can_be_renewed(store):
    lease = store.leases.acquire("x", "w1", 10.0, now=100.0)
    assert store.leases.renew(lease, 10.0, now=200.0) == Lease("x", "w1", 1, 210.0)


def test_tokens_grow_over_a_release(store):
    lease = store.leases.acquire("x", "w1", 10.0, now=100.0)
    store.leases.release(lease)
    assert store.leases.get("x") is None
    assert store.leases.renew(lease, 10.0, now=101.0) is None
    assert store.leases.acquire("x", "w1", 10.0, now=101.0).token == 2
