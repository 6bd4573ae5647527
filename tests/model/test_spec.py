"""Job specs: every wrong value is refused as it is made, by the name of its field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcgate.errors import InvalidSpec
from hpcgate.model.spec import (
    MAX_ARRAY_TASKS,
    MAX_ENVIRONMENT_BYTES,
    MAX_INPUT_BYTES,
    MAX_LABELS,
    MAX_NAME_CHARS,
    MAX_SCRIPT_BYTES,
    MAX_WALLTIME_S,
    ArraySpec,
    Dependency,
    InputFile,
    JobSpec,
    Policies,
    Resources,
    Staging,
    TaskSpec,
)


def refused(make, **values) -> dict[str, str]:
    """The fields that are refused, with what is said about them."""
    with pytest.raises(InvalidSpec) as caught:
        make(**values)
    return {error.field: error.message for error in caught.value.errors}


BAD_SCRIPTS = {
    "": "is empty",
    " \n\t\n": "is empty",
    "echo hello\n": "must start with '#!'",
    "#!\necho hello\n": "must start with '#!'",
    "#! \necho hello\n": "must start with '#!'",
    " #!/bin/sh\n": "must start with '#!'",
    "\ufeff#!/bin/sh\n": "must start with '#!'",
    "#!/bin/sh\r\necho hello\r\n": "DOS line breaks",
    "#!/bin/sh\recho hello\r": "carriage return",
    "#!/bin/sh\necho \0\n": "NUL",
    "#!/bin/sh\necho \ud800\n": "not valid Unicode",
    "#!/bin/sh\n" + "#" * MAX_SCRIPT_BYTES: f"at most {MAX_SCRIPT_BYTES} are allowed",
    "#!/bin/sh\n" + "\N{SNOWMAN}" * (MAX_SCRIPT_BYTES // 3): f"at most {MAX_SCRIPT_BYTES} are allowed",
}


@pytest.mark.parametrize(("script", "words"), BAD_SCRIPTS.items(), ids=lambda text: ascii(text[:20]))
def test_a_script_that_no_batch_system_would_run_is_refused(script, words):
    assert words in refused(JobSpec, script=script)["script"]


def test_the_largest_script_is_taken():
    head = "#!/bin/sh\n"
    script = head + "#" * (MAX_SCRIPT_BYTES - len(head))
    assert JobSpec(script=script).script == script


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"script": "#!/bin/sh\n", "command": "true"},
        {"command": "true", "tasks": (TaskSpec(command="true"),)},
        {"tasks": ()},
    ],
    ids=["nothing", "script and command", "command and tasks", "no task"],
)
def test_exactly_one_thing_says_what_runs(given):
    assert "exactly one of" in refused(JobSpec, **given)["script"]


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"command": ""}, "command", "is empty"),
        ({"command": "  "}, "command", "is empty"),
        ({"command": "tr\0ue"}, "command", "NUL"),
        ({"command": "\udcff"}, "command", "not valid Unicode"),
        ({"command": "echo", "args": ("a", "b\0")}, "args", "NUL"),
        ({"command": "echo", "args": ("\ud800",)}, "args", "not valid Unicode"),
        ({"script": "#!/bin/sh\n", "args": ("a",)}, "args", "need a command"),
    ],
)
def test_a_command_that_cannot_be_started_is_refused(given, field, words):
    assert words in refused(JobSpec, **given)[field]


BAD_NAMES = ["", "a\nb", "a\rb", "a\0b", "\x1b[2J", "\x7f", "\x85", "\u2028", "\ud800", "x" * (MAX_NAME_CHARS + 1)]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_name_is_one_line_without_control_characters(name):
    assert list(refused(JobSpec, command="true", name=name)) == ["name"]


@pytest.mark.parametrize("name", ["a b", "Grüße", "日本", "$(rm -rf ~)", "'\"\\", "-J", "x" * MAX_NAME_CHARS])
def test_any_other_line_is_a_name(name):
    assert JobSpec(command="true", name=name).name == name


@pytest.mark.parametrize("field", ["queue", "account", "qos", "reservation", "constraint", "project", "share"])
@pytest.mark.parametrize("word", ["", "a b", "a\nb", "a\0", "--wrap=x", "-x", "w" * 256], ids=ascii)
def test_a_word_that_becomes_part_of_a_directive_cannot_carry_another(field, word):
    assert list(refused(JobSpec, command="true", **{field: word})) == [field]


@pytest.mark.parametrize("field", ["working_directory", "stdout_path", "stderr_path", "callback"])
@pytest.mark.parametrize("text", ["", "a\nb", "a\0", "x" * 4097], ids=lambda text: ascii(text[:5]))
def test_a_path_or_url_is_one_line(field, text):
    assert list(refused(JobSpec, command="true", **{field: text})) == [field]


BAD_RESOURCES = [
    ("nodes", 0),
    ("nodes", -1),
    ("nodes", 10**9),
    ("nodes", True),
    ("nodes", 1.5),
    ("nodes", "2"),
    ("tasks", 0),
    ("tasks", 10**12),
    ("tasks_per_node", -4),
    ("cpus_per_task", 0),
    ("cpus_per_task", 10**9),
    ("cpus_per_node", -1),
    ("memory_mib", 0),
    ("memory_mib", -1024),
    ("memory_mib", 10**18),
    ("memory_per_cpu_mib", -1),
    ("disk_mib", -1),
    ("gpus_per_node", -1),
    ("gpus_per_node", 10**6),
    ("walltime_s", 0),
    ("walltime_s", -60),
    ("walltime_s", MAX_WALLTIME_S + 1),
    ("gpu_type", "a100"),
    ("cpus_range", (4, 2)),
    ("cpus_range", (0, 2)),
    ("cpus_range", (1, 10**40)),
    ("total_cpus_range", (1, 2, 3)),
    ("total_cpus_range", (10**30, 10**40)),
    ("cpus_options", (0,)),
]


@pytest.mark.parametrize(("name", "value"), BAD_RESOURCES)
def test_a_negative_or_absurd_resource_is_refused(name, value):
    assert list(refused(Resources, **{name: value})) == [f"resources.{name}"]


def test_a_gpu_type_with_a_line_break_is_no_word():
    assert "not a name" in refused(Resources, gpus_per_node=1, gpu_type="a\n100")["resources.gpu_type"]


def test_resources_that_contradict_each_other_are_refused():
    assert "cpus_per_task" in refused(Resources, cpus_per_node=4, cpus_per_task=2)["resources.cpus_per_node"]
    assert "memory_mib" in refused(Resources, memory_mib=1, memory_per_cpu_mib=1)["resources.memory_per_cpu_mib"]


@pytest.mark.parametrize(
    ("given", "cpus"),
    [
        ({}, 1),
        ({"cpus_per_task": 4}, 4),
        ({"tasks": 5, "nodes": 2}, 3),
        ({"tasks": 5, "nodes": 2, "cpus_per_task": 2}, 6),
        ({"tasks_per_node": 3, "nodes": 7, "cpus_per_task": 2}, 6),
        ({"cpus_per_node": 8}, 8),
        ({"cpus_range": (2, 9)}, 2),
        ({"cpus_options": (16, 8)}, 8),
    ],
)
def test_the_fewest_cores_that_a_node_must_have(given, cpus):
    assert Resources(**given).least_cpus_per_node() == cpus


@pytest.mark.parametrize(
    ("text", "indices", "limit"),
    [
        ("0", [0], None),
        ("7", [7], None),
        ("0-3", [0, 1, 2, 3], None),
        ("1-9:4", [1, 5, 9], None),
        ("0-3%2", [0, 1, 2, 3], 2),
        (" 2-2%1 ", [2], 1),
    ],
)
def test_an_array_is_read_from_text(text, indices, limit):
    array = ArraySpec.parse(text)
    assert (list(array.indices()), array.limit) == (indices, limit)


@pytest.mark.parametrize(
    "text",
    ["", "-1", "3-1", "0-", "a", "0-9:0", "0-9%0", "0--1", "0-999999999", "1-1000000000", "0-3,5", "0-3\n#SBATCH", "٣"],
)
def test_an_array_without_index_or_with_too_many_is_refused(text):
    assert all(field.startswith("array") for field in refused(ArraySpec.parse, text=text))


@given(st.integers(0, 10**6), st.integers(1, 10**5), st.integers(1, 1000), st.none() | st.integers(1, 10**6))
def test_an_array_written_as_text_reads_the_same(start, count, step, limit):
    array = ArraySpec(start=start, stop=start + (count - 1) * step, step=step, limit=limit)
    assert ArraySpec.parse(str(array)) == array
    assert len(array.indices()) == count


def test_the_largest_array_is_taken_and_one_more_is_not():
    assert len(ArraySpec(start=0, stop=MAX_ARRAY_TASKS - 1).indices()) == MAX_ARRAY_TASKS
    assert str(MAX_ARRAY_TASKS) in refused(ArraySpec, start=0, stop=MAX_ARRAY_TASKS)["array"]


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        ({"": "x"}, "environment"),
        ({"1A": "x"}, "environment"),
        ({"A=B": "x"}, "environment"),
        ({"A\n": "x"}, "environment"),
        ({"A\0": "x"}, "environment"),
        ({"A": "x\0"}, "environment.A"),
        ({"A": "\ud800"}, "environment.A"),
        ({"A": "x" * MAX_ENVIRONMENT_BYTES}, "environment"),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("secret", [False, True])
def test_an_environment_that_no_process_can_have_is_refused(environment, field, secret):
    prefix = "secret_" if secret else ""
    assert list(refused(JobSpec, command="true", **{f"{prefix}environment": environment})) == [prefix + field]


def test_a_variable_is_either_secret_or_not():
    assert (
        "'A'"
        in refused(JobSpec, command="true", environment={"A": "1"}, secret_environment={"A": "2"})["secret_environment"]
    )


def test_a_secret_shows_neither_in_the_spec_nor_in_what_is_said_about_it():
    assert "hunter2" not in repr(JobSpec(command="true", secret_environment={"A": "hunter2"}))
    assert "hunter2" not in str(refused(JobSpec, command="true", secret_environment={"A": "hunter2\0"}))


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ({"": "x"}, "labels"),
        ({"a b": "x"}, "labels"),
        ({"k" * 64: "x"}, "labels"),
        ({"a": "x\ny"}, "labels.a"),
        ({"a": "\ud800"}, "labels.a"),
        ({"a": "x" * (MAX_NAME_CHARS + 1)}, "labels.a"),
        ({f"k{n}": "x" for n in range(MAX_LABELS + 1)}, "labels"),
    ],
    ids=["empty key", "space", "long key", "line break", "surrogate", "long value", "too many"],
)
def test_a_label_that_no_list_could_filter_by_is_refused(labels, field):
    assert list(refused(JobSpec, command="true", labels=labels)) == [field]


@pytest.mark.parametrize("tags", [("",), ("a\nb",), ("t" * (MAX_NAME_CHARS + 1),), tuple(map(str, range(65)))])
def test_a_bad_tag_is_refused(tags):
    assert set(refused(JobSpec, command="true", tags=tags)) == {"tags"}


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a/", "a\0", "a\nb"], ids=ascii)
def test_an_input_stays_below_the_work_folder(path):
    assert set(refused(InputFile, path=path, content=b"")) == {"staging.inputs.path"}


@pytest.mark.parametrize("path", [".", "./a", "a/.", "a//b", "a/", "x" * 256, "a/" + "\N{SNOWMAN}" * 86])
def test_an_input_has_a_path_that_a_file_can_have(path):
    assert "staging.inputs.path" in refused(InputFile, path=path, content=b"")


def test_an_input_is_not_a_folder_of_another():
    inputs = tuple(InputFile(path=path, content=b"") for path in ("a/b/c", "a/b", "d"))
    assert "'a/b' both as a file and as a folder" in refused(Staging, inputs=inputs)["staging.inputs"]


def test_inputs_have_a_size_limit_and_paths_of_their_own():
    half = InputFile(path="a", content=bytes(MAX_INPUT_BYTES // 2 + 1))
    other = InputFile(path="b", content=half.content)
    assert str(MAX_INPUT_BYTES) in refused(Staging, inputs=(half, other))["staging.inputs"]
    assert (
        "same path"
        in refused(Staging, inputs=(InputFile(path="a", content=b""), InputFile(path="a", content=b"x")))[
            "staging.inputs"
        ]
    )


@pytest.mark.parametrize(
    ("make", "given", "field"),
    [
        (Dependency, {"job": 0}, "dependencies.job"),
        (Dependency, {"job": 2**63}, "dependencies.job"),
        (Dependency, {"job": 1, "kind": "afterward"}, "dependencies.kind"),
        (Policies, {"max_retries": -1}, "policies.max_retries"),
        (Policies, {"max_retries": 101}, "policies.max_retries"),
        (Policies, {"max_task_retries": -1}, "policies.max_task_retries"),
        (Policies, {"max_queue_s": 0}, "policies.max_queue_s"),
        (Policies, {"priority": 2**31}, "policies.priority"),
    ],
)
def test_dependencies_and_policies_have_bounds(make, given, field):
    assert list(refused(make, **given)) == [field]


def test_everything_that_is_wrong_is_said_at_once():
    found = refused(JobSpec, script="echo", name="a\nb", queue="a b", labels={"a b": "x"}, environment={"1": ""})
    assert set(found) == {"script", "name", "queue", "labels", "environment"}


def test_a_spec_cannot_be_changed_through_what_it_was_made_of():
    labels = {"a": "1"}
    spec = JobSpec(command="true", labels=labels)
    labels["a"] = "2"
    assert spec.labels["a"] == "1"
    with pytest.raises(TypeError):
        spec.labels["a"] = "3"  # type: ignore[index]


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({"command": "sleep"}, {"command"}),
        ({"script": "#!/bin/sh\n"}, {"script"}),
        ({"command": "sleep", "resources": Resources(walltime_s=60)}, {"command", "resources.walltime_s"}),
        ({"command": "sleep", "policies": Policies(max_retries=1)}, {"command", "policies.max_retries"}),
        ({"command": "sleep", "hold": True, "native": {"x": 1}}, {"command", "hold", "native"}),
    ],
)
def test_the_fields_that_a_scheduler_must_honour(given, used):
    assert used <= set(JobSpec(**given).used_fields()) <= used | {"command"}


texts = st.text(st.characters(codec=None), max_size=20)


@given(name=texts, command=texts, arg=texts, value=texts, label=texts, tag=texts, queue=texts)
def test_what_a_spec_takes_can_be_stored_and_started(name, command, arg, value, label, tag, queue):
    try:
        spec = JobSpec(
            name=name,
            command=command,
            args=(arg,),
            environment={"A": value},
            labels={"a": label},
            tags=(tag,),
            queue=queue,
        )
    except InvalidSpec as error:
        assert error.errors
        assert all(each.field and each.message for each in error.errors)
        return
    everything = [
        spec.name,
        spec.queue,
        spec.command,
        *spec.args,
        *spec.environment.values(),
        *spec.labels.values(),
        *spec.tags,
    ]
    for text in everything:
        text.encode("utf-8")
    assert "\0" not in "".join(everything)
    assert "\n" not in spec.name + spec.queue + "".join(spec.tags)
