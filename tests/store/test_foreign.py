import pytest

from hpcgate.errors import Conflict


def test_foreign_ids(store):
    store.foreign.put("bsp", "ann", "17", "job", 1)
    store.foreign.put("bsp", "bob", "17", "workflow", 2)
    store.foreign.put("rimrock", "", "abc", "job", 1)
    assert store.foreign.find("bsp", "ann", "17") == ("job", 1)
    assert store.foreign.find("bsp", "bob", "17") == ("workflow", 2)
    assert store.foreign.find("bsp", "eve", "17") is None
    assert store.foreign.of("job", 1) == [("bsp", "ann", "17"), ("rimrock", "", "abc")]
    assert store.foreign.of("workflow", 1) == []
    with pytest.raises(Conflict, match="bsp id '17' is taken"):
        store.foreign.put("bsp", "ann", "17", "job", 9)
    assert store.foreign.find("bsp", "ann", "17") == ("job", 1)


def test_the_ids_of_a_scope(store):
    for dialect, scope, name, number in (
        ("x", "ann", "a", 1),
        ("x", "ann", "b", 3),
        ("x", "bob", "c", 2),
        ("y", "ann", "d", 4),
    ):
        store.foreign.put(dialect, scope, name, "job", number)
    store.foreign.put("x", "ann", "w", "workflow", 9)
    assert list(store.foreign.within("x", "ann", "job").items()) == [("b", 3), ("a", 1)]
    store.foreign.remove("x", "ann", "b")
    store.foreign.remove("x", "ann", "b")
    assert store.foreign.within("x", "ann", "job") == {"a": 1}
    assert store.foreign.within("x", "bob", "job") == {"c": 2}
