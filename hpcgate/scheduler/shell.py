r"""Pieces of POSIX shell that the programs on compute nodes are made of. Their variables begin with ``hpcgate_``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Final


def shell_path(path: str) -> str:
    """A path as one shell word; ``~/`` at its start stands for the account's home."""
    if path.startswith("~/"):
        return f'"$HOME"/{shlex.quote(path[2:])}'
    return shlex.quote(path)


def exports(environment: Mapping[str, str]) -> str:
    """Lines that export variables, in the order of their names: the same job always gives the same text."""
    return "".join(f"    export {name}={shlex.quote(environment[name])}\n" for name in sorted(environment))


#: Once, before ``DEFAULT_SIGNALS``: finds out what can give a program its signals back.
FIND_DEFAULT_SIGNALS: Final = """\
# A shell starts background commands with INT and QUIT ignored, which no script could undo.
hpcgate_env=$(command -v env) && "$hpcgate_env" --default-signal=INT,QUIT true 2>/dev/null || hpcgate_env=
hpcgate_perl=$(command -v perl) || hpcgate_perl=
"""

#: In a background command: makes of the positional parameters a command that runs them with INT and QUIT as usual.
DEFAULT_SIGNALS: Final = """\
    if [ -n "$hpcgate_env" ]; then
        set -- "$hpcgate_env" --default-signal=INT,QUIT /bin/sh -c 'exec "$@"' sh "$@"
    elif [ -n "$hpcgate_perl" ]; then
        set -- "$hpcgate_perl" -e '
            $SIG{INT} = $SIG{QUIT} = "DEFAULT";
            exec {$ARGV[0]} @ARGV;
            warn "$ARGV[0]: $!\\n";
            exit 127' -- "$@"
    fi
"""

#: Hands signals on to ``$hpcgate_child`` by ``hpcgate_pass_on NAME``. After it ``hpcgate_wait`` waits for that child.
#: ``$hpcgate_term`` says whether TERM came.
FORWARD: Final = """\
hpcgate_child= hpcgate_caught= hpcgate_term=
hpcgate_forward() { # NAME NUMBER
    hpcgate_caught=$2
    [ "$1" != TERM ] || hpcgate_term=yes
    [ -z "$hpcgate_child" ] || hpcgate_pass_on "$1"
}
trap 'hpcgate_forward HUP 1' HUP
trap 'hpcgate_forward INT 2' INT
trap 'hpcgate_forward QUIT 3' QUIT
trap 'hpcgate_forward USR1 10' USR1
trap 'hpcgate_forward USR2 12' USR2
trap 'hpcgate_forward ALRM 14' ALRM
trap 'hpcgate_forward TERM 15' TERM

hpcgate_wait() { # sets hpcgate_status
    hpcgate_before=
    [ -z "$hpcgate_term" ] || hpcgate_pass_on TERM
    while :; do
        hpcgate_caught=
        wait "$hpcgate_child"
        hpcgate_status=$?
        if [ -n "$hpcgate_caught" ] && [ "$hpcgate_status" -eq $((128 + hpcgate_caught)) ]; then
            hpcgate_before=$hpcgate_status # a signal ended the wait, or the child: waiting again tells which
        elif [ "$hpcgate_status" -eq 127 ] && [ -n "$hpcgate_before" ]; then
            hpcgate_status=$hpcgate_before # it had been the child
            break
        else
            break
        fi
    done
    hpcgate_child=
}
"""

#: ``hpcgate_how STATUS`` gives ``"exit_code": N, "signal": N`` for a record, and sets ``hpcgate_signal``, a name.
HOW: Final = """\
hpcgate_how() { # STATUS
    hpcgate_signal=
    if [ "$1" -gt 128 ] && [ "$1" -le 192 ]; then
        hpcgate_signal=$(kill -l "$1" 2>/dev/null) || hpcgate_signal=
    fi
    if [ -n "$hpcgate_signal" ]; then
        hpcgate_end="\\"exit_code\\": null, \\"signal\\": $(($1 - 128))"
    else
        hpcgate_end="\\"exit_code\\": $1, \\"signal\\": null"
    fi
}
"""

#: Ends this shell with ``$hpcgate_status``, by the signal ``$hpcgate_signal`` where there is one.
END: Final = """\
trap - HUP INT QUIT USR1 USR2 ALRM TERM
if [ -n "$hpcgate_signal" ]; then
    ulimit -c 0
    kill -s "$hpcgate_signal" $$
fi
exit "$hpcgate_status"
"""
