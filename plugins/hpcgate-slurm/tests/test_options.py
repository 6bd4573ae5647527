"""From specs and directives to sbatch's command line, and what can never get there."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hpcgate_slurm import plugin
from hpcgate_slurm.options import FIELDS, RULES, read_request
from hpcgate_slurm.settings import ALLOWED, NEVER, SlurmSettings
from hpcgate_slurm.submit import prepare, submitted

from hpcgate.errors import InvalidSpec
from hpcgate.model.job import Job
from hpcgate.model.site import Site
from hpcgate.model.spec import ArraySpec, JobSpec, Policies, Resources
from hpcgate.model.state import JobState
from hpcgate.testing.conformance.texts import AWKWARD_NAMES

FOLDER = "/jobs/01KEY"


def site(work_root: str = "/jobs", **settings) -> Site:
    return Site(name="s", scheduler="slurm", transport="local", work_root=work_root, settings=SlurmSettings(**settings))


def job(folder: str = FOLDER, **spec) -> Job:
    if not spec.keys() & {"script", "command"}:
        spec["command"] = "true"
    return Job(
        id=5,
        key="01KEY",
        owner="ann",
        site="s",
        spec=JobSpec(**spec),
        state=JobState.SUBMITTING,
        folder=folder,
        created_at=0,
        updated_at=0,
    )


def words(**spec) -> list[str]:
    return prepare(site(), job(**spec))[0].words()


def script(*lines: str, **spec) -> list[str]:
    return words(script="\n".join(["#!/bin/sh", *lines, "true", ""]), **spec)


# --- the table


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"name": "a b"}, ["--job-name=a b"]),
        ({"queue": "main", "account": "hpc", "qos": "high"}, ["--partition=main", "--account=hpc", "--qos=high"]),
        ({"reservation": "r", "constraint": "a&b"}, ["--reservation=r", "--constraint=a&b"]),
        ({"resources": Resources(walltime_s=90)}, ["--time=1:30"]),
        ({"resources": Resources(nodes=3, tasks=6)}, ["--nodes=3", "--ntasks=6"]),
        ({"resources": Resources(tasks_per_node=2, cpus_per_task=4)}, ["--ntasks-per-node=2", "--cpus-per-task=4"]),
        ({"resources": Resources(cpus_per_node=8)}, ["--ntasks-per-node=1", "--cpus-per-task=8"]),
        ({"resources": Resources(cpus_per_node=8, tasks=2)}, ["--ntasks=2", "--mincpus=8"]),
        ({"resources": Resources(cpus_range=(2, 4))}, ["--cpus-per-task=2"]),
        ({"resources": Resources(cpus_options=(8, 4))}, ["--cpus-per-task=4"]),
        ({"resources": Resources(memory_mib=100, disk_mib=7)}, ["--mem=100M", "--tmp=7M"]),
        ({"resources": Resources(memory_per_cpu_mib=100)}, ["--mem-per-cpu=100M"]),
        ({"resources": Resources(gpus_per_node=2, gpu_type="a100")}, ["--gpus-per-node=a100:2"]),
        ({"resources": Resources(exclusive=True)}, ["--exclusive"]),
        ({"array": ArraySpec.parse("0-8:2%3")}, ["--array=0-8:2%3", "--comment=hpcgate:01KEY:5"]),
        ({"hold": True}, ["--hold"]),
        ({"native": {"mail-type": "END", "requeue": True, "nice": 10}}, ["--mail-type=END", "--requeue", "--nice=10"]),
        ({}, ["--comment=hpcgate:01KEY", "--export=NONE", "--ignore-pbs", "--parsable", "--nodes=1"]),
    ],
)
def test_fields_become_options(spec, expected):
    assert set(expected) <= set(words(**spec))


def test_every_field_of_the_spec_is_ruled_on_or_refused_by_not_being_named():
    known = {each.name for each in fields(JobSpec)} | {f"resources.{each.name}" for each in fields(Resources)}
    known |= {f"policies.{each.name}" for each in fields(Policies)}
    assert {name for name in FIELDS if not name.startswith("staging")} <= known
    assert len({rule.field for rule in RULES}) == len(RULES)
    for name in ("callback", "notifications", "resources.total_cpus_range"):
        assert name not in FIELDS


# --- the script's own lines


def test_directives_fill_what_the_request_leaves_open():
    found = script(
        "#SBATCH -J mine -p debug -A hpc -t 1-2:30 -N2 --ntasks-per-node=4 -c2 --mem=4G",
        "#SBATCH --mail-type=END --licenses=a:1",
    )
    assert {
        "--job-name=mine", "--partition=debug", "--account=hpc", "--time=1590:00", "--nodes=2", "--ntasks-per-node=4",
        "--cpus-per-task=2", "--mem=4096M", "--mail-type=END", "--licenses=a:1",
    } <= set(found)  # fmt: skip


def test_array_of_the_script_counts_as_one():
    sbatch, _ = prepare(site(), job(script="#!/bin/sh\n#SBATCH -a 1-4\ntrue\n"))
    assert "--comment=hpcgate:01KEY:4" in sbatch.words()
    assert "HPCGATE_ARRAY_INDEX" in sbatch.script


@pytest.mark.parametrize(
    ("line", "spec", "field"),
    [
        ("#SBATCH --time=5", {"resources": Resources(walltime_s=600)}, "resources.walltime_s"),
        ("#SBATCH -p debug", {"queue": "main"}, "queue"),
        ("#SBATCH -o x", {"stdout_path": "y"}, "stdout_path"),
        ("#SBATCH -a 1-2", {"array": ArraySpec.parse("1-3")}, "array"),
        ("#SBATCH --mem=1G --mem-per-cpu=1G", {}, "resources.memory_per_cpu_mib"),
        ("#SBATCH --time=forever", {}, "script"),
        ("#SBATCH --nodes=2-4", {}, "script"),
        ("#SBATCH --nodes=0", {}, "resources.nodes"),
        ("#SBATCH --array=5-1", {}, "script"),
        ("#SBATCH --exclusive=user", {}, "script"),
        ("#SBATCH --export=ALL", {}, "script"),
        ("#SBATCH --uid=0", {}, "script"),
        ("#SBATCH --comment=x", {}, "script"),
        ("#SBATCH -M other", {}, "script"),
        ("#SBATCH --dependency=afterok:1", {}, "script"),
        ("#SBATCH --burst-buffer=x", {}, "script"),
        ("#SBATCH --container=/x", {}, "script"),
        ("#SBATCH -o ''", {}, "script"),
        ("#SBATCH --licenses='a\x01b'", {}, "script"),
        ("#SBATCH -A '-x'", {}, "account"),
    ],
)
def test_conflicts_and_what_is_not_allowed_are_refused_by_name(line, spec, field):
    with pytest.raises(InvalidSpec) as caught:
        script(line, **spec)
    assert field in {error.field for error in caught.value.errors}


def test_what_both_say_alike_is_no_conflict():
    assert "--time=10:00" in script("#SBATCH --time=10", resources=Resources(walltime_s=600))


@pytest.mark.parametrize(
    "name", ["uid", "wrap", "export", "comment", "output", "time", "nosuch", "Mail-Type", "-x", "bb"]
)
def test_native_options_that_are_not_for_jobs(name):
    with pytest.raises(InvalidSpec) as caught:
        words(native={name: "1"})
    assert caught.value.errors[0].field == f"native.{name}"


@pytest.mark.parametrize("value", ["a\nb", "a\x00b", ["x"], {"a": 1}, 1.5, None])
def test_native_values_that_are_no_line(value):
    with pytest.raises(InvalidSpec):
        words(native={"licenses": value})


def test_name_of_the_request_stands_before_the_scripts():
    assert "--job-name=mine" in script("#SBATCH -J other", name="mine")


def test_site_says_what_is_allowed():
    narrow = site(allow=("licenses",))
    with pytest.raises(InvalidSpec, match="does not allow the option 'mail-type'"):
        prepare(narrow, job(native={"mail-type": "END"}))
    assert "--licenses=a" in prepare(narrow, job(native={"licenses": "a"}))[0].words()


def test_nothing_is_both_allowed_and_never():
    assert not set(ALLOWED) & set(NEVER)


@pytest.mark.parametrize("settings", [{"allow": ("uid",)}, {"allow": ("--x",)}, {"bin": "x"}, {"accounting_days": 0}])
def test_wrong_settings(settings):
    with pytest.raises(InvalidSpec, match="settings"):
        SlurmSettings(**settings)


# --- injection: whatever stands in a field is a value of one option


@pytest.mark.parametrize("text", [*AWKWARD_NAMES, "x --uid=0", "x;reboot", "$(reboot)", "--wrap=reboot"])
def test_a_name_is_one_word(text):
    plain, odd = words(name="plain"), words(name=text)
    assert [word for word in odd if word not in plain] == [f"--job-name={text}"]


@pytest.mark.parametrize("field", ["queue", "account", "qos", "reservation", "constraint"])
@pytest.mark.parametrize("text", ["a b", "a\n#SBATCH --uid=0", "-x", "", "a\x1fb"])
def test_words_that_are_no_words(field, text):
    with pytest.raises(InvalidSpec, match=field):
        words(**{field: text})


@pytest.mark.parametrize("field", ["name", "stdout_path", "stderr_path", "working_directory"])
@pytest.mark.parametrize("text", ["a\nb", "a\x00b", "a\u2028b"])
def test_lines_that_are_no_lines(field, text):
    with pytest.raises(InvalidSpec, match=field):
        words(**{field: text})


def test_no_text_of_the_job_is_a_directive_of_the_wrapper():
    text = "x\n#SBATCH --uid=0\n#PBS -l nodes=9\n"
    sbatch, _ = prepare(site(), job(command="printf", args=("%s", text), environment={"A": text}))
    head = sbatch.script.partition("\nhpcgate_folder=")[0]
    assert [line for line in head.splitlines() if line.startswith(("#SBATCH", "#PBS"))] == []
    assert "--ignore-pbs" in sbatch.words()


# --- where the output goes


def streams(folder: str = FOLDER, **spec):
    sbatch, found = prepare(site(), job(folder, **spec))
    answer = submitted(job(folder, **spec), "41", found)
    options = [word for word in sbatch.words() if word.startswith(("--output", "--error", "--open"))]
    return answer.stdout_path, answer.stderr_path, options


@pytest.mark.parametrize(
    ("spec", "stdout", "stderr", "options"),
    [
        ({}, f"{FOLDER}/stdout", f"{FOLDER}/stderr", ["--output=/jobs/01KEY/stdout", "--error=/jobs/01KEY/stderr"]),
        ({"stdout_path": "a b"}, f"{FOLDER}/work/a b", f"{FOLDER}/stderr", ["--output=/jobs/01KEY/work/a b"]),
        (
            {"stdout_path": "o", "working_directory": "/data"},
            "/data/o",
            f"{FOLDER}/stderr",
            ["--output=/data/o", "--error=/jobs/01KEY/stderr"],
        ),
        (
            {"array": ArraySpec.parse("0-1")},
            f"{FOLDER}/stdout",
            f"{FOLDER}/stderr",
            ["--output=/jobs/01KEY/stdout.%a", "--error=/jobs/01KEY/stderr.%a"],
        ),
        ({"stdout_path": "50%j"}, f"{FOLDER}/work/50%j", f"{FOLDER}/stderr", ["--output=/dev/null"]),
        (
            {"script": "#!/bin/sh\n#SBATCH -o %x-%j.out -e e%%.%4j\ntrue\n", "name": "n"},
            f"{FOLDER}/work/n-41.out",
            None,
            ["--output=/jobs/01KEY/work/%x-%j.out", "--error=/jobs/01KEY/work/e%%.%4j"],
        ),
        (
            {"script": "#!/bin/sh\n#SBATCH -o /data/%j\ntrue\n"},
            "/data/41",
            "/data/41",
            ["--output=/data/%j", "--error=/data/%j"],
        ),
        (
            {"script": "#!/bin/sh\n#SBATCH -a 1-2 -o out.%a\ntrue\n"},
            f"{FOLDER}/work/out",
            f"{FOLDER}/work/out",
            ["--output=/jobs/01KEY/work/out.%a"],
        ),
        ({"script": "#!/bin/sh\n#SBATCH -a 1-2 -o %A_%a\ntrue\n"}, None, None, ["--output=/jobs/01KEY/work/%A_%a"]),
    ],
)
def test_paths(spec, stdout, stderr, options):
    found = streams(**spec)
    assert found[:2] == (stdout, stderr)
    assert set(options) <= set(found[2])


def test_folder_below_home_is_named_from_where_sbatch_runs():
    stdout, _, options = streams("~/jobs/01KEY")
    assert stdout == "~/jobs/01KEY/stdout"
    assert "--output=../stdout" in options


@pytest.mark.parametrize("folder", ["/100%/01KEY", "/back\\slash/01KEY"])
def test_folder_with_characters_that_slurm_would_replace(folder):
    sbatch, found = prepare(site(), job(folder))
    assert found.redirect == (f"{folder}/stdout", f"{folder}/stderr")
    assert "--output=/dev/null" in sbatch.words()
    with pytest.raises(InvalidSpec, match="work_root"):
        prepare(site(), job(folder, script="#!/bin/sh\n#SBATCH -o %j\ntrue\n"))


# --- what is said of it


def test_dry_run_shows_the_command_line():
    rendered = plugin.hpcgate_render_script(site(bin="/opt/slurm/bin/", cluster="x"), job())
    assert rendered.argv[:2] == ("/opt/slurm/bin/sbatch", "--clusters=x")


def test_request_is_complete():
    request = read_request(JobSpec(script="#!/bin/sh\n#SBATCH -D sub -H\ntrue\n"), SlurmSettings())
    assert (request.spec.working_directory, request.spec.hold) == ("sub", True)


def test_every_option_is_described_once():
    text = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
    assert [name for name in NEVER if f"`{name}`" not in text] == []
