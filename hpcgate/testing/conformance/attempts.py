"""Attempts to get a directive, an option or a shell command through a field of the spec.

Each is refused, by the model or by the plugin, with an error that names its field; or it is a value like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from hpcgate.model.spec import ArraySpec, Dependency, InputFile, JobSpec, Resources, Staging

#: What an attempt wants to get onto the command line as a word of its own, or into a directive.
OPTIONS: Final = ("--uid=0", "--wrap=id", "-W", "block=true", "-V")
DIRECTIVES: Final = ("#SBATCH --uid=0", "#PBS -W block=true", "#PBS -V")

SCRIPT: Final = "#!/bin/sh\necho fine\n"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt.

    Args:
        field: of the spec, as an error has to name it.
        what: the text that it tries.
        make: gives the spec; it may raise ``InvalidSpec``.
    """

    field: str
    what: str
    make: Callable[[str], JobSpec]

    def spec(self, canary: str) -> JobSpec:
        """The spec.

        Args:
            canary: a file that is there afterwards if a shell took the text apart; its path holds nothing odd.
        """
        return self.make(self.what.replace("CANARY", canary))


def _line_breaks() -> Iterator[str]:
    for line_break in ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028"):
        yield f"x{line_break}#SBATCH --uid=0"
    yield from ("x\n#PBS -W block=true", "x\n#PBS -V\n", "x\ntouch CANARY", "\ntouch CANARY\n", "x\0")


_LINE_BREAKS: Final = tuple(_line_breaks())
_OPTIONS: Final = ("x --uid=0", "--uid=0", "-W block=true", "x -W block=true", "x\t-V", "-V", " ")
#: Without white space, so that a name may be like this.
_SHELL: Final = (
    ";touch${IFS}CANARY",
    "$(touch${IFS}CANARY)",
    "`touch${IFS}CANARY`",
    "x&&touch${IFS}CANARY",
    'x";touch${IFS}CANARY;"',
)
_SHELL_WORDS: Final = (
    "; touch CANARY; #",
    "$(touch CANARY)",
    "`touch CANARY`",
    "' ; touch CANARY; '",
    '"; touch CANARY; "',
)


def _of(field: str, make: Callable[[str], JobSpec], *texts: str) -> Iterator[Attempt]:
    return (Attempt(field, text, make) for text in texts)


def _spec(**fields: Any) -> JobSpec:
    return JobSpec(**{"script": SCRIPT, **fields})


def _text(name: str) -> Callable[[str], JobSpec]:
    return lambda text: _spec(**{name: text})


def _variable(name: str) -> Callable[[str], JobSpec]:
    return lambda text: _spec(**{name: {text: "x"}})


def _value(name: str) -> Callable[[str], JobSpec]:
    return lambda text: _spec(**{name: {"KIT": text}})


def _all() -> Iterator[Attempt]:
    yield from _of("name", _text("name"), *_LINE_BREAKS, "", "-W block=true", "x --uid=0", *_SHELL_WORDS)
    for name in ("queue", "account", "qos", "reservation", "constraint"):
        yield from _of(name, _text(name), _LINE_BREAKS[0], "x\ntouch CANARY", "x\u2028y", *_OPTIONS, *_SHELL[:3], "")
    yield from _of("account", _text("account"), *_SHELL[3:])
    yield from _of(
        "resources.gpu_type",
        lambda text: _spec(resources=Resources(gpus_per_node=1, gpu_type=text)),
        *("x --uid=0", "x\n#SBATCH --uid=0", "$(touch${IFS}CANARY)"),
    )
    yield from _of(
        "resources.walltime_s",
        lambda text: _spec(resources=Resources(walltime_s=text)),  # type: ignore[arg-type]
        *("60 --uid=0", "60\n#SBATCH --uid=0", "$(touch CANARY)"),
    )
    yield from _of(
        "array",
        lambda text: _spec(array=ArraySpec.parse(text)),
        *(
            "1-2 --uid=0",
            "1-2\n#SBATCH --uid=0",
            "1-2%1;touch CANARY",
            "$(touch CANARY)",
            "1-2 -W block=true",
            "-V",
            "",
        ),
    )
    yield from _of(
        "dependencies",
        lambda text: _spec(dependencies=(Dependency(job=1, kind=text),)),
        *("afterok:1,block=true", "afterok --uid=0", "afterok\n#PBS -V", "$(touch CANARY)"),
    )
    for name in ("environment", "secret_environment"):
        yield from _of(
            name,
            _variable(name),
            *(
                "A;touch CANARY",
                "A B",
                "A=$(touch CANARY)",
                "A\nB",
                "A\n#SBATCH --uid=0",
                "1A",
                "A,B",
                "-A",
                "\u00c4",
                "",
            ),
        )
        yield from _of(
            name,
            _value(name),
            *_SHELL_WORDS[: 5 if name == "environment" else 2],
            *("x\n#SBATCH --uid=0", "x\n#PBS -W block=true", "x,PBS_O_HOME=/", "x\0y"),
        )
    for name in ("working_directory", "stdout_path", "stderr_path"):
        yield from _of(name, _text(name), *_LINE_BREAKS, "")
    yield from _of("stdout_path", _text("stdout_path"), "x --uid=0", "-W block=true", *_SHELL_WORDS[:3])
    yield from _of(
        "command",
        lambda text: JobSpec(command=text),
        *(*_SHELL_WORDS, "true; touch CANARY", "true\n#SBATCH --uid=0", "true\ntouch CANARY", "true\0", " "),
    )
    yield from _of(
        "args",
        lambda text: JobSpec(command="true", args=("x", text)),
        *(*_SHELL_WORDS[:3], "x\n#SBATCH --uid=0", "x\n#PBS -W block=true", "x\0"),
    )
    yield from _of(
        "staging.inputs",
        lambda text: _spec(staging=Staging(inputs=(InputFile(path=text, content=b"x"),))),
        *("../x", "/etc/x", "a/../../x", "a\n#SBATCH --uid=0", ".", "a//b", ""),
    )
    yield from _of("labels", lambda text: _spec(labels={"a": text}), "x\n#SBATCH --uid=0")
    yield from _of("labels", lambda text: _spec(labels={text: "x"}), "a b", "a\nb", "$(touch CANARY)", "")
    yield from _of("tags", lambda text: _spec(tags=(text,)), "x\n#PBS -V", "")
    yield from _of(
        "native",
        _variable("native"),
        *("uid", "--uid", "uid=0", "wrap", "x y", "x\n#SBATCH --uid", "", "output", "export", "chdir", "get-user-env"),
    )
    yield from _of(
        "native",
        lambda text: _spec(native={"mail-user": text}),
        "x\n#SBATCH --uid=0",
        "x --uid=0",
        "$(touch${IFS}CANARY)",
    )


ATTEMPTS: Final = tuple(_all())
#: Those that want a command to run.
COMMANDS: Final = tuple(each for each in ATTEMPTS if "CANARY" in each.what)
