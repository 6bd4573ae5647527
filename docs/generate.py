"""Writes the parts of the reference that the code knows best.

A page holds ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->``; what stands between them is made here.
``python docs/generate.py`` writes it, ``python docs/generate.py --check`` says which parts are old.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
from hpcgate_dialect_clustercockpit import settings as clustercockpit
from hpcgate_dialect_rimrock import settings as rimrock
from hpcgate_pbs import states as pbs
from hpcgate_slurm import states as slurm

from hpcgate import config, errors, open_gateway
from hpcgate.cli import exits
from hpcgate.cli.main import cli
from hpcgate.model import spec, state
from hpcgate.model.scheduler import Approximated, FieldSupport, SchedulerInfo

HERE = Path(__file__).parent


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


def text(source: str | None) -> str:
    """A docstring as Markdown, on one line."""
    return re.sub(r"``(.+?)``", r"`\1`", " ".join((source or "").split()))


# --- configuration --------------------------------------------------------------------------------------------------


def config_tables() -> str:
    return "\n\n".join(_config_table(*each) for each in _walk_config(config.Config, "") if _rows(each[1]))


def _walk_config(kind: type, path: str) -> Iterator[tuple[str, type]]:
    hints = get_type_hints(kind)
    for item in fields(kind):
        if path == "" and item.name in ("home", "source"):
            continue
        inner = next((each for each in (hints[item.name], *get_args(hints[item.name])) if is_dataclass(each)), None)
        if inner is None:
            continue
        name = f"{path}.{item.name}" if path else item.name
        if "Mapping" in str(hints[item.name]):
            name += ".NAME"
        yield name, inner
        yield from _walk_config(inner, name)


def _config_table(name: str, kind: type) -> str:
    return f"### `[{name}]`\n\n{table(('key', 'type', 'default', 'what it is'), _rows(kind))}"


def _rows(kind: type) -> list[tuple[str, str, str, str]]:
    hints = get_type_hints(kind)
    return [
        (f"`{item.name}`", _type(hints[item.name]), _default(item), item.metadata["help"])
        for item in fields(kind)
        if not any(is_dataclass(each) for each in (hints[item.name], *get_args(hints[item.name])))
    ]


def _type(hint: Any) -> str:
    if "Mapping" in str(hint):
        return "table"
    if "tuple" in str(hint):
        return "list"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return next(names[each] for each in (hint, *get_args(hint)) if each in names)


def _default(item: Field[Any]) -> str:
    if item.default is MISSING and item.default_factory is MISSING:
        return "**required**"
    value = item.default if item.default is not MISSING else item.default_factory()  # type: ignore[misc]
    if value is None or value in ("", (), {}):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


# --- schedulers -----------------------------------------------------------------------------------------------------


def _scheduler(name: str) -> SchedulerInfo:
    from hpcgate.plugin.manager import PluginHost

    return PluginHost.load().scheduler(name)


def settings_of(name: str) -> Callable[[], str]:
    return lambda: _config_table("sites.NAME.settings", _scheduler(name).settings)


def fields_of(name: str) -> Callable[[], str]:
    return lambda: table(
        ("field", "what becomes of it", "how"), map(_field, sorted(_scheduler(name).fields.items(), key=_name))
    )


def _name(item: tuple[str, FieldSupport]) -> str:
    return item[0]


def _field(item: tuple[str, FieldSupport]) -> tuple[str, str, str]:
    name, support = item
    how = support.how if isinstance(support, Approximated) else ""
    return f"`{name}`", "approximated" if how else str(support), how


def capabilities_of(name: str) -> Callable[[], str]:
    return lambda: ", ".join(f"`{item}`" for item in sorted(_scheduler(name).capabilities))


# --- Slurm ----------------------------------------------------------------------------------------------------------


def slurm_states() -> str:
    rows = [(f"`{word}`", f"`{each.code}`" if each.code else "", *_native(each)) for word, each in slurm.STATES.items()]
    return table(("state", "short", "here", "note"), rows)


def _native(means: slurm.NativeState) -> tuple[str, str]:
    here = " ".join(f"`{word}`" for word in (means.state, means.phase, means.reason) if word is not None)
    return here, means.note


# --- PBS ------------------------------------------------------------------------------------------------------------


def pbs_states() -> str:
    rows = [(f"`{letter}`", "", *_meaning(means)) for letter, means in pbs.LETTERS.items()] + [
        (f"`{letter}`", f"`{substate}`", *_meaning(means)) for (letter, substate), means in pbs.SUBSTATES.items()
    ]
    ended = " ".join(f"`{letter}`" for letter in sorted(pbs.ENDED))
    return table(("job_state", "substate", "here", "note"), [*sorted(rows), (ended, "", "ended", "see below")])


def _meaning(means: pbs.Meaning) -> tuple[str, str]:
    here = " ".join(f"`{word}`" for word in (means.state, means.phase, means.reason) if word is not None)
    return here or "as before", means.words or ""


def pbs_failures() -> str:
    rows = [(f"`{code}`", f"`{each.reason}`", each.words) for code, each in pbs.EXECUTION_FAILURES.items()]
    return table(("Exit_status", "reason", "what happened"), rows)


def pbs_unsupported() -> str:
    from hpcgate_pbs.options import UNSUPPORTED

    return table(("field", "why not"), [(f"`{name}`", why) for name, why in sorted(UNSUPPORTED.items())])


# --- command line ---------------------------------------------------------------------------------------------------


def commands() -> str:
    root = click.Context(cli, info_name="hpcgate")
    return "\n\n".join(_command(command, ctx) for command, ctx in _walk(cli, root))


def _walk(group: click.Group, parent: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        ctx = click.Context(command, info_name=name, parent=parent)
        if isinstance(command, click.Group):
            yield from _walk(command, ctx)
        else:
            yield command, ctx


def _command(command: click.Command, ctx: click.Context) -> str:
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    parts = [f"### `{ctx.command_path}`", f"```text\n{usage}\n```", _help(command)]
    rows = []
    for item in command.get_params(ctx):
        record = item.get_help_record(ctx)
        if isinstance(item, click.Option) and record and item.name != "help":
            rows.append((f"`{record[0]}`", text(record[1])))
    if rows:
        parts.append(table(("option", "what it does"), rows))
    return "\n\n".join(parts)


def _help(command: click.Command) -> str:
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", _dedent(command.help or "")):
        if paragraph.startswith("\b"):
            first, *rest = paragraph.removeprefix("\b").strip("\n").splitlines()
            code = "\n".join(line.removeprefix("  ") for line in rest)
            paragraphs.append(f"{first.strip()}\n\n```text\n{code}\n```")
        else:
            paragraphs.append(text(paragraph))
    return "\n\n".join(paragraphs)


def _dedent(source: str) -> str:
    import inspect

    return inspect.cleandoc(source)


def exit_codes() -> str:
    source = Path(exits.__file__).read_text(encoding="utf-8")
    found = re.findall(r"((?:#: .*\n)+)(\w+): Final = (\d+)|^(OK): Final = (0)", source, re.MULTILINE)
    rows = []
    for comment, _, code, ok, zero in found:
        said = text(re.sub(r"^#: ", "", comment, flags=re.MULTILINE)) if not ok else "Done."
        rows.append((f"`{code or zero}`", said))
    return table(("exit code", "meaning"), rows)


# --- states, reasons, errors, limits --------------------------------------------------------------------------------


def states() -> str:
    rows = [
        (f"`{old}`", ", ".join(f"`{new}`" for new in state.JobState if new in after) or "none: it is final")
        for old, after in state.STEPS.items()
    ]
    return table(("state", "single steps to"), rows)


def skips() -> str:
    rows = [(f"`{old}`", f"`{new}`", ", ".join(f"`{each}`" for each in way)) for (old, new), way in state.SKIPS.items()]
    return table(("from", "to", "filled in"), rows)


def requeues() -> str:
    rows = [
        (f"`{old}`", ", ".join(f"`{new}`" for new in state.JobState if new in after))
        for old, after in state.REQUEUES.items()
    ]
    return table(("state", "a new attempt may be"), rows)


def reasons() -> str:
    rows = [(f"`{each}`", each.issuer.value, "yes" if each.retryable else "no", each.advice) for each in state.Reason]
    return table(("reason", "caused by", "retryable", "advice"), rows)


def error_codes() -> str:
    from hpcgate.server.errors import status_of

    def walk(kind: type[errors.HpcgateError]) -> Iterator[type[errors.HpcgateError]]:
        yield kind
        for each in kind.__subclasses__():
            if each.__module__ in ("hpcgate.errors", "hpcgate.server.errors"):
                yield from walk(each)

    rows = []
    for kind in walk(errors.HpcgateError):
        if kind is errors.HpcgateError:
            continue
        code = exits.code_of_error(kind.__new__(kind))
        meaning = text((kind.__doc__ or "").split("\n\n")[0])
        rows.append((f"`{kind.code}`", f"`{kind.__name__}`", str(status_of(kind.__new__(kind))), str(code), meaning))
    return table(("code", "Python class", "HTTP status", "exit code", "meaning"), rows)


LIMITS: Mapping[str, str] = {
    "MAX_SCRIPT_BYTES": "script, bytes",
    "MAX_NAME_CHARS": "name, label value or tag, characters",
    "MAX_ARRAY_TASKS": "tasks of one array",
    "MAX_ENVIRONMENT_BYTES": "environment, names and values together, characters",
    "MAX_INPUT_BYTES": "inline input files of one job together, bytes",
    "MAX_DEPENDENCIES": "jobs that one job waits for",
    "MAX_LABELS": "labels, and tags, of one job",
    "MAX_WALLTIME_S": "walltime, seconds",
}


def limits() -> str:
    return table(("what", "at most"), [(said, f"{getattr(spec, name):,}") for name, said in LIMITS.items()])


# --- REST API -------------------------------------------------------------------------------------------------------


def routes() -> str:
    document = _openapi()
    rows: dict[str, list[tuple[str, str]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in ("get", "post", "put", "patch", "delete"):
                tag = (operation.get("tags") or ["Other"])[0]
                rows.setdefault(tag, []).append((f"`{method.upper()} {path}`", text(operation.get("summary"))))
    parts = [f"### {tag}\n\n{table(('request', 'what it does'), found)}" for tag, found in rows.items()]
    return "\n\n".join(parts)


def _openapi() -> dict[str, Any]:
    from werkzeug.test import Client

    from hpcgate.server import create_app

    with tempfile.TemporaryDirectory() as folder, open_gateway(config.config_from({}, home=Path(folder))) as gateway:
        answer = Client(create_app(gateway)).get("/api/v1/openapi.json")
        document: dict[str, Any] = answer.get_json()
        return document


BLOCKS: Mapping[str, Callable[[], str]] = {
    "capabilities-container": capabilities_of("container"),
    "capabilities-local": capabilities_of("local"),
    "capabilities-pbs": capabilities_of("pbs"),
    "capabilities-slurm": capabilities_of("slurm"),
    "commands": commands,
    "config": config_tables,
    "errors": error_codes,
    "exit-codes": exit_codes,
    "fields-container": fields_of("container"),
    "fields-local": fields_of("local"),
    "fields-pbs": fields_of("pbs"),
    "fields-slurm": fields_of("slurm"),
    "limits": limits,
    "pbs-failures": pbs_failures,
    "pbs-states": pbs_states,
    "pbs-unsupported": pbs_unsupported,
    "reasons": reasons,
    "requeues": requeues,
    "routes": routes,
    "settings-clustercockpit": lambda: _config_table("dialects.clustercockpit.settings", clustercockpit.Settings),
    "settings-container": settings_of("container"),
    "settings-local": settings_of("local"),
    "settings-pbs": settings_of("pbs"),
    "settings-rimrock": lambda: _config_table("dialects.rimrock.settings", rimrock.Settings),
    "settings-rimrock-x509": lambda: _config_table("dialects.rimrock.settings.x509", rimrock.X509Settings),
    "settings-slurm": settings_of("slurm"),
    "skips": skips,
    "slurm-states": slurm_states,
    "states": states,
}


def main() -> int:
    old = []
    for page in sorted(HERE.rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = re.sub(
            r"(<!-- begin: ([\w-]+) -->\n).*?(<!-- end: \2 -->)",
            lambda match: f"{match[1]}\n{BLOCKS[match[2]]()}\n\n{match[3]}",
            before,
            flags=re.DOTALL,
        )
        if after != before:
            old.append(page)
            if "--check" not in sys.argv:
                page.write_text(after, encoding="utf-8")
    if "--check" in sys.argv and old:
        print("old; run `python docs/generate.py`:", *old, sep="\n  ")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
