"""From specs and ``#PBS`` lines to the command line of ``qsub``."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from typing import get_args, get_type_hints

import pytest
from hpcgate_pbs import plugin as pbs
from hpcgate_pbs.directives import REFUSED, parse_directives
from hpcgate_pbs.options import FIELDS, UNSUPPORTED, job_name, select
from hpcgate_pbs.settings import PbsSettings
from hpcgate_pbs.submission import prepare
from hypothesis import given
from hypothesis import strategies as st

from hpcgate.errors import InvalidSpec
from hpcgate.model.job import Job, JobDependency, JobRef
from hpcgate.model.site import Site
from hpcgate.model.spec import ArraySpec, Dependency, JobSpec, Policies, Resources
from hpcgate.model.state import JobState

SITE = Site(name="there", scheduler="pbs", transport="local", work_root="/scratch/jobs", settings=PbsSettings())
KEY = "01J00000000000000000000001"


def job(spec, folder=f"/scratch/jobs/{KEY}"):
    return Job(
        id=7, key=KEY, owner="ann", site="there", spec=spec, state=JobState.SUBMITTING, folder=folder,
        created_at=0.0, updated_at=0.0,
    )  # fmt: skip


def prepared(site=SITE, **spec):
    spec.setdefault("command", "true") if "script" not in spec else None
    return prepare(site, job(JobSpec(**spec)))


def values(submission, flag):
    words = submission.argv
    return [value for word, value in pairwise(words) if word == flag]


def script(*lines):
    return "\n".join(["#!/bin/bash", *lines, "hostname"]) + "\n"


# --- the table ----------------------------------------------------------------------------------------------------


def leaves(kind, prefix=""):
    hints = get_type_hints(kind)
    for each in fields(kind):
        inner = [part for part in (hints[each.name], *get_args(hints[each.name])) if is_dataclass(part)]
        if inner and each.name in ("resources", "staging", "policies"):
            yield from leaves(inner[0], f"{prefix}{each.name}.")
        else:
            yield prefix + each.name


def test_every_field_of_a_spec_is_honoured_approximated_or_said_to_be_unsupported():
    assert sorted([*FIELDS, *UNSUPPORTED]) == sorted(leaves(JobSpec))


# --- the name -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("model-1.2_b+c", "model-1.2_b+c"),
        ("two words", "two_words"),
        ("1st", "j1st"),
        ("-N x", "j-N_x"),
        ("漢字", "j__"),
        ("x" * 300, "x" * 230),
        ("a\\b:c/d|e", "a_b_c_d_e"),
    ],
)
def test_a_name_becomes_one_that_pbs_takes(name, given):
    assert job_name(name, 230) == given


@given(st.text(min_size=1), st.integers(1, 230))
def test_any_name_becomes_one_that_pbs_takes(name, most):
    given = job_name(name, most)
    assert 1 <= len(given) <= most
    assert given[0].isalpha()
    assert all(letter.isascii() and (letter.isalnum() or letter in "+-._") for letter in given)


# --- chunks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "chunks"),
    [
        (Resources(), "1:ncpus=1"),
        (Resources(nodes=4), "4:ncpus=1"),
        (Resources(nodes=2, cpus_per_node=8), "2:ncpus=8"),
        (Resources(nodes=2, tasks_per_node=4), "2:ncpus=4:mpiprocs=4"),
        (Resources(nodes=2, tasks_per_node=4, cpus_per_task=2), "2:ncpus=8:mpiprocs=4:ompthreads=2"),
        (Resources(nodes=2, tasks=6), "2:ncpus=3:mpiprocs=3"),
        (Resources(nodes=2, tasks=5), "1:ncpus=3:mpiprocs=3+1:ncpus=2:mpiprocs=2"),
        (Resources(cpus_per_task=6), "1:ncpus=6:ompthreads=6"),
        (Resources(memory_mib=2048), "1:ncpus=1:mem=2048mb"),
        (Resources(memory_per_cpu_mib=100, cpus_per_node=4), "1:ncpus=4:mem=400mb"),
        (Resources(gpus_per_node=2), "1:ncpus=1:ngpus=2"),
        (Resources(cpus_range=(3, 9)), "1:ncpus=3"),
        (Resources(cpus_options=(16, 8)), "1:ncpus=8"),
    ],
)
def test_resources_become_chunks(resources, chunks):
    assert select(resources) == chunks


def test_the_command_line_of_a_large_job():
    spec = JobSpec(
        name="climate run",
        command="mpirun",
        args=("-n", "4", "model"),
        queue="long",
        account="p1",
        hold=True,
        policies=Policies(priority=5000),
        array=ArraySpec.parse("2-8:2%3"),
        constraint="arch=linux",
        resources=Resources(nodes=2, cpus_per_node=4, walltime_s=90_061, exclusive=True),
    )
    submission = prepare(SITE, job(spec))
    assert submission.argv == (
        "qsub", "-N", "climate_run", "-q", "long", "-A", "p1", "-h", "-J", "2-8:2", "-W", "max_run_subjobs=3",
        "-p", "1023",
        "-l", "walltime=25:01:01", "-l", "select=2:ncpus=4:arch=linux", "-l", "place=scatter:excl",
        "-v", f"HPCGATE_JOB_KEY={KEY}", "-S", f"/scratch/jobs/{KEY}/shell", "-j", "oe", "-o", "/dev/null", "-m", "n",
    )  # fmt: skip


def waiting_for(*others, **spec):
    kinds = [kind for kind, _ in others]
    named = tuple(Dependency(job=number, kind=kind) for number, kind in enumerate(kinds, 1))
    waits = JobSpec(**{"command": "true", **spec, "dependencies": named})
    depends_on = tuple(
        JobDependency(job=JobRef(id=number, key=KEY, native_id=native_id, folder="/f"), kind=kind)
        for number, (kind, native_id) in enumerate(others, 1)
        if native_id is not None
    )
    return prepare(SITE, replace(job(waits), depends_on=depends_on))


def test_dependencies_are_told_by_native_ids_each_kind_once():
    """The server keeps the last list of a kind that is named twice."""
    submission = waiting_for(("afterok", "8.head"), ("afterany", "9[].head"), ("afterok", "10.head"))
    assert values(submission, "-W") == ["depend=afterok:8.head:10.head,afterany:9[].head"]


def test_dependencies_that_are_satisfied_already_are_not_told():
    assert values(waiting_for(("afterok", None)), "-W") == []


def test_dependencies_of_request_and_script_do_not_mix():
    with pytest.raises(InvalidSpec) as caught:
        waiting_for(("afterok", "8.head"), command=None, script=script("#PBS -W depend=afterok:1.head"))
    assert [error.field for error in caught.value.errors] == ["dependencies"]


def test_the_limit_of_an_array_stands_before_that_of_its_script():
    """qsub refuses two of them."""
    lines = script("#PBS -W max_run_subjobs=9")
    assert values(prepared(script=lines, array=ArraySpec.parse("1-20%3")), "-W") == ["max_run_subjobs=3"]
    assert values(prepared(script=lines, array=ArraySpec.parse("1-20")), "-W") == ["max_run_subjobs=9"]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(), 1),
        (Resources(nodes=2, cpus_per_node=8), 8),
        (Resources(nodes=2, tasks=5), 3),
        (Resources(tasks_per_node=4, cpus_per_task=2), 8),
    ],
)
def test_a_job_is_told_the_cores_of_its_first_node(resources, expected):
    """``NCPUS`` of PBS would be those of one rank."""
    assert f"export HPCGATE_CPUS={expected}\n" in prepared(resources=resources).script


def test_the_environment_of_the_gateway_is_never_handed_over():
    submission = prepared(environment={"A": "secret"}, secret_environment={"B": "more"})
    assert "-V" not in submission.argv
    assert not any("secret" in word or "more" in word for word in submission.argv)
    assert "more" not in submission.script


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"array": ArraySpec.parse("4")}, "array"),
        ({"constraint": "fast"}, "constraint"),
        ({"constraint": "host=n1,walltime=1"}, "constraint"),
        ({"constraint": "host=n1+4:ncpus=9"}, "constraint"),
        ({"resources": Resources(nodes=4, tasks=2)}, "resources.tasks"),
        ({"queue": "long@elsewhere"}, "queue"),
        ({"queue": "@elsewhere"}, "queue"),
        ({"script": "#!/bin/sh\n#PBS -q long@elsewhere\n"}, "queue"),
        ({"reservation": "R7@elsewhere"}, "reservation"),
    ],
)
def test_what_pbs_cannot_say_is_refused(spec, field):
    with pytest.raises(InvalidSpec) as caught:
        prepared(**spec)
    assert [error.field for error in caught.value.errors] == [field]


@pytest.mark.parametrize("folder", ["/home/it's a folder/K", "/a b/K", "/a,b/K", "/a@b/K", "~/jobs/K"])
def test_a_path_that_qsub_might_take_apart_is_not_given_as_shell(folder):
    submission = prepare(SITE, job(JobSpec(command="true"), folder))
    assert values(submission, "-S") == ["/bin/sh"]
    assert submission.launcher is None


# --- directives ---------------------------------------------------------------------------------------------------


def test_directives_end_at_the_first_command():
    own = parse_directives("#!/bin/sh\n# a word\n\n#PBS -q fast\necho\n#PBS -q slow\n")
    assert own.options == {"q": "fast"}


def test_directives_of_all_kinds():
    own = parse_directives(
        script(
            "#PBS -N model -q long",
            "#PBS -lselect=2:ncpus=4:mem=1gb,walltime=1:30:00",
            '#PBS -l place="scatter:excl" # spread',
            "#PBS -h",
            "#PBS -j oe -k oed",
            "#PBS -v 'A=1, B=x y,C=\"a,b\"'",
            "#PBS -W depend=afterok:1.s:2.s,afterany:3.s,umask=027",
            "#PBS -S /bin/bash",
            "#PBSnot -q nowhere",
        )
    )
    assert own.options == {"N": "model", "q": "long", "h": "", "j": "oe"}
    assert own.resources == {"select": "2:ncpus=4:mem=1gb", "walltime": "1:30:00", "place": "scatter:excl"}
    assert own.attributes == {"depend": "afterok:1.s:2.s,afterany:3.s", "umask": "027"}
    assert own.environment == {"A": "1", "B": "x y", "C": "a,b"}


@pytest.mark.parametrize("letter", sorted(REFUSED))
def test_options_that_cannot_be_honoured_are_refused_by_name_and_line(letter):
    value = "" if letter in "fhIVXz" else " x"
    with pytest.raises(InvalidSpec) as caught:
        parse_directives(script("#PBS -q fast", f"#PBS -{letter}{value}"))
    (error,) = caught.value.errors
    assert error.field == "script"
    assert error.message.startswith(f"line 3: #PBS -{letter} cannot be honoured: ")


@pytest.mark.parametrize(
    "line",
    [
        "-W block=true",
        "-W stagein=a@b:c",
        "-v HOME",
        "-v PBS_O_HOME=/x",
        "-v HPCGATE_JOB_KEY=x",
        "-v 1A=x",
        "-l walltime",
        "-l =3",
        "-S /bin/csh",
        "-q",
        "-Y x",
        "script.sh",
        "-- /bin/rm",
        '-N "unclosed',
        "-J 5-1",
        "-J 1-4",
        "-p high",
        "-l walltime=soon",
        "-o out/",
        "-o $HOME/out",
        "-o out.^array_index^",
        "-j both",
    ],
)
def test_directives_that_are_wrong_or_dangerous_are_refused(line):
    with pytest.raises(InvalidSpec) as caught:
        prepared(script=script(f"#PBS {line}"))
    assert all(error.field == "script" for error in caught.value.errors)


@pytest.mark.parametrize(
    ("refused", "line"), [("p", "-p 5"), ("l place", "-l place=excl"), ("W depend", "-W depend=afterok:1")]
)
def test_a_site_may_refuse_options(refused, line):
    with pytest.raises(InvalidSpec, match="is not allowed at this site"):
        parse_directives(script(f"#PBS {line}"), [refused])
    assert parse_directives(script(f"#PBS {line}"))


def test_directives_are_honoured_where_the_spec_is_silent():
    submission = prepared(
        script=script(
            "#PBS -N mine -q long -A p2 -p -7 -h -P proj -W umask=027",
            "#PBS -l select=2:ncpus=4:mem=1gb -l place=scatter -l walltime=00:10:00 -l software=abc",
            "#PBS -v GREETING=hello -o out.txt -e /tmp/err.txt -m abe -M ann@example",
        )
    )
    assert values(submission, "-N") == ["mine"]
    assert values(submission, "-q") == ["long"]
    assert values(submission, "-A") == ["p2"]
    assert values(submission, "-p") == ["-7"]
    assert values(submission, "-P") == ["proj"]
    assert values(submission, "-m") == ["abe"]
    assert values(submission, "-M") == ["ann@example"]
    assert values(submission, "-W") == ["umask=027"]
    assert sorted(values(submission, "-l")) == [
        "place=scatter", "select=2:ncpus=4:mem=1gb", "software=abc", "walltime=00:10:00",
    ]  # fmt: skip
    assert submission.argv.count("-h") == 1
    assert submission.spec.environment == {"GREETING": "hello"}
    assert (submission.stdout_path, submission.stderr_path) == (f"/scratch/jobs/{KEY}/work/out.txt", "/tmp/err.txt")


def test_the_spec_stands_before_the_directives():
    submission = prepared(
        name="theirs",
        script=script(
            "#PBS -N mine -q long -A p2 -p 7 -l select=2:ncpus=4,walltime=1:00:00 -l ncpus=9 -v GREETING=hello -o mine"
        ),
        queue="short",
        account="p1",
        policies=Policies(priority=3),
        resources=Resources(cpus_per_node=2, walltime_s=60),
        environment={"GREETING": "good day"},
        stdout_path="theirs",
    )
    assert values(submission, "-N") == ["theirs"]
    assert values(submission, "-q") == ["short"]
    assert values(submission, "-A") == ["p1"]
    assert values(submission, "-p") == ["3"]
    assert values(submission, "-l") == ["walltime=00:01:00", "select=1:ncpus=2", "place=pack"]
    assert submission.spec.environment == {"GREETING": "good day"}
    assert submission.stdout_path.endswith("/work/theirs")


def test_a_directive_stands_before_the_sites_default_queue():
    site = Site(
        name="there", scheduler="pbs", transport="local", work_root="/w", settings=PbsSettings(), default_queue="main"
    )
    assert values(prepared(site, script=script("#PBS -q long"), queue="main"), "-q") == ["long"]
    assert values(prepared(site, script=script(), queue="main"), "-q") == ["main"]


@pytest.mark.parametrize(
    ("line", "same"), [("-j oe", True), ("-j eo", True), ("-j n", False), ("-o a -e b", False), ("-j oe -e b", False)]
)
def test_streams_are_joined_as_asked(line, same):
    submission = prepared(script=script(f"#PBS {line}"))
    assert (submission.stdout_path == submission.stderr_path) is same


def test_a_host_in_a_path_is_left_out():
    assert prepared(script=script("#PBS -o head:/home/ann/x:y")).stdout_path == "/home/ann/x:y"


def test_the_scripts_own_lines_are_no_directives_of_the_batch_script():
    """PBS reads directives up to the first command, which stands before anything of the user's."""
    text = prepared(script=script("#PBS -q long"), name="x\u2007#PBS -q other").script
    first = next(line for line in text.splitlines()[1:] if line.strip() and not line.startswith("#"))
    assert "#PBS" not in text[: text.index(first)]


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [{"bin_dir": "bin"}, {"shell": "sh"}, {"name_chars": 0}, {"name_chars": 231}, {"refuse_options": ("l  place",)}],
)
def test_wrong_settings_are_refused_by_name(wrong):
    with pytest.raises(InvalidSpec, match=f"settings.{next(iter(wrong))}"):
        PbsSettings(**wrong)


def test_settings_are_heeded():
    site = Site(
        name="there",
        scheduler="pbs",
        transport="local",
        work_root="/w",
        settings=PbsSettings(bin_dir="/opt/pbs/bin", shell="/bin/bash", name_chars=15),
    )
    rendered = pbs.hpcgate_render_script(site, job(JobSpec(name="n" * 40, command="true")))
    assert rendered.argv[:3] == ("/opt/pbs/bin/qsub", "-N", "n" * 15)
    assert "/bin/bash" in rendered.argv
