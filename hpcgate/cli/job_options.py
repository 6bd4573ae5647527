"""The options that describe a job, shared by ``submit`` and ``run``, and the request that they make."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from hpcgate.cli.completion import complete_sites
from hpcgate.cli.values import DURATION, MEMORY, PAIR
from hpcgate.model.codec import encode
from hpcgate.model.spec import ArraySpec

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option("--site", "-s", metavar="NAME", shell_complete=complete_sites, help="Where to run it."),
    click.option("--name", "-J", help="Name of the job; by default the file's or the program's."),
    click.option("--queue", "-q", metavar="NAME", help="Queue or partition."),
    click.option("--account", "-A", metavar="NAME", help="Account that is charged at the site."),
    click.option("--qos", metavar="NAME", help="Quality of service."),
    click.option("--project", metavar="NAME", help="Project whose quota is used."),
    click.option("--nodes", "-N", type=int, help="Number of nodes."),
    click.option("--tasks", "-n", type=int, help="Processes over all nodes."),
    click.option("--cpus", "-c", type=int, help="Cores for each process."),
    click.option("--memory", "-m", type=MEMORY, help="Memory on each node: 512M, 4G; units are MiB, GiB, TiB."),
    click.option("--gpus", type=int, help="Accelerators on each node."),
    click.option("--gpu-type", metavar="NAME", help="Kind of accelerator."),
    click.option("--walltime", "-t", type=DURATION, help="Longest run: 90 (seconds), 15m, 1:30:00, 2-00:00:00, 1d."),
    click.option("--env", "-e", type=PAIR, multiple=True, help="Environment variable."),
    click.option(
        "--secret-env",
        metavar="NAME",
        multiple=True,
        help="Secret environment variable; its value is taken from this command's environment, or asked for.",
    ),
    click.option("--label", "-l", type=PAIR, multiple=True, help="Label to find the job by."),
    click.option("--tag", metavar="TEXT", multiple=True, help="Tag to find the job by."),
    click.option("--workdir", "-D", metavar="PATH", help="Folder at the site to run in, instead of a private one."),
    click.option(
        "--input",
        "-i",
        "inputs",
        metavar="PATH[=DEST]",
        multiple=True,
        help="Small local file to put into the work folder (at DEST below it).",
    ),
    click.option(
        "--idempotency-key", metavar="TEXT", help="With the same text and job again, nothing new is submitted."
    ),
)


def job_options(function: F) -> F:
    """Adds the options that describe a job."""
    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), function)


def request_of(what: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What POST /jobs takes.

    Args:
        what: ``script``, or ``command`` and ``args``, and a default ``name``; or a whole job.
        options: values of ``job_options``, and of ``--array`` and ``--hold`` where a command has them. They go before
            what the job says.
    """
    request: dict[str, Any] = {}
    for name in ("name", "site", "queue", "account", "qos", "project"):
        request[name] = options[name]
    request["resources"] = _given(
        nodes=options["nodes"],
        tasks=options["tasks"],
        cpus_per_task=options["cpus"],
        memory_mib=options["memory"],
        gpus_per_node=options["gpus"],
        gpu_type=options["gpu_type"],
        walltime_s=options["walltime"],
    )
    request["environment"] = dict(options["env"])
    request["secret_environment"] = {name: _secret(name) for name in options["secret_env"]}
    request["labels"] = dict(options["label"])
    request["tags"] = list(options["tag"])
    request["working_directory"] = options["workdir"]
    request["staging"] = _given(inputs=[_input(each) for each in options["inputs"]])
    request["hold"] = options.get("hold")
    if options.get("array") is not None:
        request["array"] = encode(ArraySpec.parse(options["array"]))
    given = _given(**request)
    both = {
        name for name in given.keys() & what.keys() if isinstance(given[name], dict) and isinstance(what[name], dict)
    }
    return {**what, **given, **{name: {**what[name], **given[name]} for name in both}}


def command_of(argv: Sequence[str]) -> dict[str, Any]:
    """The part of a request that says to run a command."""
    return {"command": argv[0], "args": list(argv[1:]), "name": Path(argv[0]).name or "job"}


def file_of(path: str) -> dict[str, Any]:
    """What a file asks for: ``.json`` holds a whole job as the REST API takes it, any other is a script."""
    text = _script_of(path)
    if not path.endswith(".json"):
        return text
    try:
        job = json.loads(text["script"])
    except ValueError as error:
        raise click.UsageError(f"{path!r} is no JSON: {error}") from error
    if not isinstance(job, dict):
        raise click.UsageError(f"{path!r} must hold an object with the fields of a job, e.g. tasks")
    return {"name": Path(path).stem, **job}


def _script_of(path: str) -> dict[str, Any]:
    """The part of a request that says to run a script; ``-`` is standard input."""
    try:
        if path == "-":
            return {"script": sys.stdin.buffer.read().decode("utf-8"), "name": "stdin"}
        return {"script": Path(path).read_bytes().decode("utf-8"), "name": Path(path).name}
    except OSError as error:
        hint = "" if os.sep in path else "; a command goes after '--': hpcgate submit -- COMMAND..."
        raise click.UsageError(f"script {path!r} cannot be read: {error.strerror}{hint}") from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"script {path!r} is no UTF-8 text (byte {error.start})") from error


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, {}, [], ())}


def _secret(name: str) -> str:
    if name in os.environ:
        return os.environ[name]
    if "=" in name:
        raise click.BadParameter(
            f"{name.partition('=')[0]!r} comes with a value, which everybody on this machine could see; "
            "give the name alone and the value in the environment",
            param_hint="--secret-env",
        )
    if not sys.stdin.isatty():
        raise click.BadParameter(
            f"{name} is not in the environment, and nobody is there to ask", param_hint="--secret-env"
        )
    value: str = click.prompt(name, hide_input=True, err=True)
    return value


def _input(text: str) -> dict[str, Any]:
    source, equals, target = text.partition("=")
    path = Path(source)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{source!r} cannot be read: {error.strerror}", param_hint="--input") from error
    return {
        "path": target if equals else path.name,
        "content": base64.b64encode(content).decode("ascii"),
        **({"executable": True} if os.access(path, os.X_OK) else {}),
    }
