"""How container runtimes are called; nothing runs here."""

import pytest

from hpcgate.model.site import RUNTIMES as NAMES
from hpcgate.scheduler.runtime import RUNTIMES, Call, Variables

HOSTILE = ("two words", "-v/:/host", "--privileged", "$(id)", "a\nb", "'\"\\", ";reboot", "\u2603", "")
WORK = "/jobs/K/work"
ENGINES = ("podman", "docker")


def call(**more):
    given = {"image": "localhost/tiny:1", "command": "prog", "work": WORK, "name": "n1", "user": "7:8", "userns": "u"}
    return Call(**{**given, **more})


def argv(name, **more):
    return RUNTIMES[name].arguments(call(**more))


def test_every_name_of_the_config_has_a_row():
    assert tuple(RUNTIMES) == NAMES


EXPECTED = {
    "podman": (
        "run --rm --name=n1 --cap-drop=ALL --security-opt=no-new-privileges --stop-signal=TERM --log-driver=none "
        "--network=none --volume=/jobs/K/work:/jobs/K/work --workdir=/jobs/K/work/sub --env=PATH=/x --env=A --env=B "
        "--userns=u --entrypoint=prog localhost/tiny:1 1 2"
    ),
    "docker": (
        "run --rm --name=n1 --cap-drop=ALL --security-opt=no-new-privileges --stop-signal=TERM --log-driver=none "
        "--network=none --volume=/jobs/K/work:/jobs/K/work --workdir=/jobs/K/work/sub --env=PATH=/x --env=A --env=B "
        "--user=7:8 --entrypoint=prog localhost/tiny:1 1 2"
    ),
    "apptainer": (
        "exec --containall --no-privs --no-eval --bind=/jobs/K/work:/jobs/K/work --pwd=/jobs/K/work/sub "
        "docker://localhost/tiny:1 prog 1 2"
    ),
    "singularity": (
        "exec --containall --no-privs --no-eval --bind=/jobs/K/work:/jobs/K/work --pwd=/jobs/K/work/sub "
        "docker://localhost/tiny:1 prog 1 2"
    ),
    "udocker": (
        "run --rm --nobanner --volume=/jobs/K/work:/jobs/K/work --workdir=/jobs/K/work/sub --env=PATH=/x --env=A "
        "--env=B localhost/tiny:1 prog 1 2"
    ),
    "charliecloud": "--private-tmp --bind=/jobs/K/work:/mnt --cd=/mnt/sub localhost/tiny:1 -- prog 1 2",
}


@pytest.mark.parametrize("name", NAMES)
def test_command_line(name):
    found = argv(name, args=("1", "2"), workdir="sub", names=("A", "B"), shown={"PATH": "/x"})
    assert " ".join(found) == EXPECTED[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_user_gives_is_never_an_option(name, text):
    """Arguments stand behind the image; the command too, or as the value of an option."""
    found = argv(name, command=text, args=(text, text))
    place = found.index("docker://localhost/tiny:1" if RUNTIMES[name].prefix else "localhost/tiny:1")
    assert found[place + 1 :].count(text) == (2 if name in ENGINES else 3)
    assert [word for word in found[:place] if text and text in word] == (
        [f"--entrypoint={text}"] if name in ENGINES and text else []
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_more_rights_than_needed(name):
    found = argv(name, network=True)
    assert not [word for word in found if word.startswith(("--privileged", "--cap-add", "--device", "--pid=host"))]
    assert "--network=none" not in found
    assert ("--network=none" in argv(name)) is (name in ENGINES)


@pytest.mark.parametrize("name", NAMES)
def test_own_command_of_the_image(name):
    found = argv(name, command=None, args=("x",))
    assert not any(word.startswith("--entrypoint") for word in found)
    assert found[-1] == "x"
    if RUNTIMES[name].prefix:
        assert found[0] == "run"


@pytest.mark.parametrize(
    ("name", "image", "given"),
    [
        ("podman", "docker://debian:12", "debian:12"),
        ("udocker", "docker://debian:12", "debian:12"),
        ("apptainer", "docker://debian:12", "docker://debian:12"),
        ("apptainer", "library://a/b", "library://a/b"),
        ("apptainer", "/images/a.sif", "/images/a.sif"),
        ("singularity", "mine.sif", "mine.sif"),
        ("charliecloud", "/images/debian", "/images/debian"),
        ("charliecloud", "docker://debian:12", "debian:12"),
    ],
)
def test_names_of_images(name, image, given):
    assert RUNTIMES[name].refuses(image) is None
    assert given in argv(name, image=image)


@pytest.mark.parametrize("name", ["podman", "docker", "udocker"])
@pytest.mark.parametrize("image", ["/etc/passwd", "./a", "x.sif", "library://a/b", "oras://h/a"])
def test_images_that_engines_cannot_run(name, image):
    assert name in (RUNTIMES[name].refuses(image) or "")


@pytest.mark.parametrize("variable", ["PATH", "LD_PRELOAD", "DOCKER_HOST", "CONTAINERS_CONF", "https_proxy", "HOME"])
def test_variables_that_engines_go_by(variable):
    reserved = {name for name, runtime in RUNTIMES.items() if runtime.reserved(variable)}
    assert reserved == {name for name, runtime in RUNTIMES.items() if runtime.variables is Variables.NAMED}
    assert not RUNTIMES["podman"].reserved("TOKEN")


@pytest.mark.parametrize("name", ENGINES)
def test_engines_can_stop_a_container(name):
    assert RUNTIMES[name].stop(call()) == ["stop", "-t", "8", "n1"]
