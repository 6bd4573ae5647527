r"""The batch script that schedulers get: a POSIX shell program around the user's own script.

It runs on a compute node, where nothing of hpcgate is installed, under whatever ``/bin/sh`` is there, and does, in
this order:

1. It finds out who it is: native id, attempt, index in an array.
2. **Claim.** It makes ``claim/native_id`` in the job folder, a link that holds its native id, which works once. Whoever
   finds the native id of another one there ends with ``CLAIMED_EXIT`` before any user code: a submit whose answer was
   lost may have been repeated, and this is the last fence against running a job twice. A requeue keeps its native id
   and passes, and so do all tasks of an array.
3. It writes the user's script into the job folder and the start record beside it, and tells the event spool.
4. It runs the script by its own ``#!`` (or the command, without a shell), in its folder, with its environment and its
   secrets, and hands signals on to it.
5. It writes how that ended, by rename, tells the event spool, removes the secrets, and ends in the same way.

Two records may be left at the end, never both. ``exit.ATTEMPT`` is proof: the script ended by itself.
``stopped.ATTEMPT`` is not: the wrapper got TERM, or the script died of TERM or KILL, so that somebody ended it from
outside. That may have been a cancel, the walltime, the memory limit, or a requeue after which the job goes on; only
the scheduler knows which. The secrets stay in that case, for the job may start again.

A shell cannot tell a script that was ended by signal N from one that ended with 128+N: both count as the signal.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Template
from typing import Final

from hpcgate.model.files import JobFolder
from hpcgate.scheduler.shell import DEFAULT_SIGNALS, END, FIND_DEFAULT_SIGNALS, FORWARD, HOW, exports, shell_path
from hpcgate.transport.base import Transport

#: Exit status of a run that found the job claimed by another native id.
CLAIMED_EXIT: Final = 118
#: Exit status of a run that could not be set up: no job folder, no working directory, no secrets.
SETUP_EXIT: Final = 119


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapper:
    """What the batch script of one job is made of.

    Args:
        job_id: the gateway's id.
        key: the job's key.
        folder: the job's folder at the site: absolute, or below ``~/``. It need not exist yet.
        native_id: shell words that give the scheduler's id, the same for all tasks of an array and after a requeue,
            e.g. ``"${PBS_JOBID}"``.
        attempt: shell arithmetic that gives the attempt, e.g. ``"1 + ${SLURM_RESTART_COUNT:-0}"``.
        index: shell words that give the index in an array; ``None`` = no array.
        tasks: how many tasks the array has; the last one that ends removes the secrets.
        script: the user's script, or else
        argv: program and arguments.
        environment: the job's variables.
        secrets: whether there is a secrets file.
        working_directory: absolute, or below the work folder; the work folder itself when not given.
        event_spool: the folder that is told of the start and of the end; absolute, or below ``~/``.
        directives: lines for the scheduler, e.g. ``"#SBATCH --requeue"``.
        setup: lines of shell that run first, e.g. to set ``HPCGATE_CPUS``.
        finish: lines of shell that run once the script has ended, before that is written down. They may add to the
            record (``hpcgate_end``), and change how the wrapper itself ends (``hpcgate_status``, ``hpcgate_signal``).
        redirect: (stdout, stderr) that the wrapper opens itself once it has the claim; paths as for the folder. Each
            task of an array appends its index. ``None`` = the scheduler does it.
        fresh_output: empty the files that the scheduler has opened as stdout and stderr once the claim is there. For
            schedulers that are told to append, so that a second run that finds the claim taken spoils nothing.
    """

    job_id: int
    key: str
    folder: str
    native_id: str
    attempt: str = "1"
    index: str | None = None
    tasks: int = 1
    script: str | None = None
    argv: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: bool = False
    working_directory: str | None = None
    event_spool: str | None = None
    directives: Sequence[str] = ()
    setup: str = ""
    finish: str = ""
    redirect: tuple[str, str] | None = None
    fresh_output: bool = False
    exit_name: str = "exit"


def render(wrapper: Wrapper) -> str:
    """The batch script; the user's script stands in it line by line as it is.

    Raises:
        ValueError: a directive has more than one line, or does not begin with ``#``.
    """
    for line in wrapper.directives:
        if not line.startswith("#") or len(line.splitlines()) != 1:
            raise ValueError(f"{line!r} is not one line that begins with '#'")
    folder = JobFolder(wrapper.folder)
    return _TEXT.substitute(
        directives="".join(f"{line}\n" for line in wrapper.directives),
        setup=wrapper.setup.rstrip("\n") + "\n" if wrapper.setup else "",
        before_record=wrapper.finish.rstrip("\n") + "\n" if wrapper.finish else "",
        job_id=wrapper.job_id,
        key=shlex.quote(wrapper.key),
        folder=shell_path(folder.root),
        native_id=wrapper.native_id,
        attempt=wrapper.attempt,
        index="" if wrapper.index is None else _INDEX.substitute(index=wrapper.index),
        array="" if wrapper.index is None else "yes",
        tasks=wrapper.tasks,
        claimed=CLAIMED_EXIT,
        failed=SETUP_EXIT,
        exit_name=shlex.quote(wrapper.exit_name),
        output=_output(wrapper),
        event_spool=shell_path(wrapper.event_spool) if wrapper.event_spool else "",
        script=_script(wrapper),
        workdir=shell_path(_workdir(wrapper, folder)),
        secrets="yes" if wrapper.secrets else "",
        environment=exports(wrapper.environment),
        find_default_signals=FIND_DEFAULT_SIGNALS,
        default_signals=DEFAULT_SIGNALS,
        forward=FORWARD,
        how=HOW,
        end=END,
    )


def write_secrets(folder: JobFolder, secrets: Mapping[str, str], transport: Transport) -> None:
    """Writes the file that the batch script reads the secrets from, into a job folder that is there.

    Raises:
        TransportError: it could not be written.
    """
    records = "".join(f"{name}={value}\0" for name, value in secrets.items())
    transport.write(folder.secrets, records.encode("utf-8", "surrogateescape"), mode=0o600)


def _workdir(wrapper: Wrapper, folder: JobFolder) -> str:
    given = wrapper.working_directory
    if given is None:
        return folder.work
    return given if given.startswith(("/", "~/")) else f"{folder.work}/{given}"


def _script(wrapper: Wrapper) -> str:
    if wrapper.script is None:
        return f"set -- {' '.join(shlex.quote(word) for word in wrapper.argv)}\n"
    lines, line_break, rest = wrapper.script.rpartition("\n")
    body = lines + line_break
    return _SCRIPT.substitute(body=body, end=_delimiter(body), rest=shlex.quote(rest))


def _delimiter(body: str) -> str:
    """A line that does not stand in the script."""
    lines, count = set(body.split("\n")), 0
    while (end := f"HPCGATE_SCRIPT_{count}") in lines:
        count += 1
    return end


def _output(wrapper: Wrapper) -> str:
    if wrapper.redirect is None:
        return _FRESH if wrapper.fresh_output else ""
    out, err = (f'{shell_path(path)}"$hpcgate_dot"' for path in wrapper.redirect)
    return _REDIRECT.substitute(out=out, err=err, target="&1" if out == err else err)


_INDEX: Final = Template("""\
hpcgate_index=$index
export HPCGATE_ARRAY_INDEX="$$hpcgate_index"
hpcgate_dot=.$$hpcgate_index
""")

_FRESH: Final = """\
for hpcgate_stream in /proc/self/fd/1 /proc/self/fd/2; do
    [ ! -f "$hpcgate_stream" ] || ( : >"$hpcgate_stream" ) 2>/dev/null || :
done
"""

# A redirection that fails would end the shell at once, without a word in the record: so it is tried beside it first.
_REDIRECT: Final = Template("""\
( : >>$out; : >>$err ) 2>/dev/null || hpcgate_fail "its output files cannot be written"
exec >$out 2>$target
""")

_SCRIPT: Final = Template("""\
{
    cat <<'$end'
$body$end
    printf %s $rest
} >"$$hpcgate_folder/script.$$hpcgate_me" &&
    chmod 700 "$$hpcgate_folder/script.$$hpcgate_me" &&
    mv -f "$$hpcgate_folder/script.$$hpcgate_me" "$$hpcgate_folder/script" ||
    hpcgate_fail "its script cannot be written"
set -- "$$hpcgate_folder/script"
""")

_TEXT: Final = Template(r"""#!/bin/sh
$directives
# Made by hpcgate. The job's own script or command stands below.
$setup
hpcgate_folder=$folder
hpcgate_key=$key
hpcgate_native=$native_id
hpcgate_attempt=$$(($attempt))
hpcgate_array=$array
hpcgate_spool=$event_spool
hpcgate_index= hpcgate_dot=
$index
export HPCGATE_JOB_ID=$job_id HPCGATE_JOB_KEY="$$hpcgate_key" HPCGATE_NATIVE_ID="$$hpcgate_native" \
    HPCGATE_ATTEMPT="$$hpcgate_attempt"
hpcgate_me=$$hpcgate_native.$${hpcgate_index:-0}.$$$$

hpcgate_refuse() { # STATUS MESSAGE
    printf 'hpcgate: job %s: %s\n' "$$hpcgate_key" "$$2" >&2
    exit "$$1"
}

hpcgate_fail() { # MESSAGE; for one that has the claim
    hpcgate_end="\"exit_code\": $failed, \"reason\": \"LAUNCH_FAILED\", \"message\": \"$$1\""
    hpcgate_record $exit_name "$$hpcgate_end, \"ended_at\": $$(date +%s)"
    hpcgate_tell
    hpcgate_refuse $failed "$$1"
}

hpcgate_tell() {
    # Read by the gateway every second or two; where it cannot be written, the next poll sees what happened. Others may
    # write there too, so it is a fresh file, under a name that nobody can have put a link at.
    [ ! -d "$$hpcgate_spool" ] || mktemp "$$hpcgate_spool/$$hpcgate_key.XXXXXXXX" >/dev/null 2>&1 || :
}

hpcgate_record() { # NAME FIELDS
    printf '{"native_id": "%s", "node": "%s", %s}\n' "$$hpcgate_native" "$$(uname -n)" "$$2" \
        >"$$hpcgate_folder/.$$1.$$hpcgate_me" &&
        mv -f "$$hpcgate_folder/.$$1.$$hpcgate_me" "$$hpcgate_folder/$$1.$$hpcgate_attempt$$hpcgate_dot"
}

# --- claim: the link is made once, with its content, or not at all

mkdir -p -m 700 "$$hpcgate_folder" && mkdir -p "$$hpcgate_folder/claim" "$$hpcgate_folder/work" ||
    hpcgate_refuse $failed "its folder $$hpcgate_folder cannot be made"
ln -s "$$hpcgate_native" "$$hpcgate_folder/claim/native_id" 2>/dev/null
hpcgate_owner=$$(readlink "$$hpcgate_folder/claim/native_id") ||
    hpcgate_refuse $failed "its folder $$hpcgate_folder cannot be written"
[ "$$hpcgate_owner" = "$$hpcgate_native" ] ||
    hpcgate_refuse $claimed "it is the job $$hpcgate_owner already; $$hpcgate_native ends here and has run nothing"

# --- set up

$output
$script
cd -- $workdir || hpcgate_fail "its working directory cannot be entered"
hpcgate_secrets=
if [ -n "$secrets" ]; then
    hpcgate_secrets=$$hpcgate_folder/secrets
    [ -r "$$hpcgate_secrets" ] || hpcgate_fail "its secrets cannot be read"
fi

hpcgate_load_secrets() {
    # NAME=VALUE records that end in NUL, which no shell variable holds: through octal codes, inside this shell alone.
    hpcgate_rest=$$(od -An -v -to1 <"$$hpcgate_secrets" | tr -d '\n' | sed 's/ /\\0/g')
    while [ -n "$$hpcgate_rest" ]; do
        hpcgate_item=$$(printf '%b.' "$${hpcgate_rest%%\\0000*}")
        hpcgate_item=$${hpcgate_item%.}
        export "$${hpcgate_item%%=*}=$${hpcgate_item#*=}"
        hpcgate_rest=$${hpcgate_rest#*\\0000}
    done
}

${find_default_signals}
hpcgate_run() {
    [ -z "$$hpcgate_secrets" ] || hpcgate_load_secrets
$default_signals$environment    exec "$$@"
}

hpcgate_pass_on() { # NAME
    kill -s "$$1" "$$hpcgate_child" 2>/dev/null || :
}
$forward
$how
# --- run

hpcgate_started=$$(date +%s)
hpcgate_record start "\"started_at\": $$hpcgate_started"
hpcgate_tell
hpcgate_status=143
if [ -z "$$hpcgate_term" ]; then
    hpcgate_run "$$@" </dev/null &
    hpcgate_child=$$!
    hpcgate_wait
fi

# --- end

hpcgate_how "$$hpcgate_status"
hpcgate_end="$$hpcgate_end, \"started_at\": $$hpcgate_started, \"ended_at\": $$(date +%s)"
${before_record}if [ -n "$$hpcgate_term" ] || [ "$$hpcgate_status" -eq 143 ] || [ "$$hpcgate_status" -eq 137 ]; then
    hpcgate_record stopped "$$hpcgate_end"
else
    if [ -n "$$hpcgate_secrets" ] && [ -n "$$hpcgate_array" ]; then
        mkdir -p "$$hpcgate_folder/ended/$$hpcgate_index"
        [ "$$(ls "$$hpcgate_folder/ended" | wc -l)" -lt $tasks ] || rm -f "$$hpcgate_secrets"
    elif [ -n "$$hpcgate_secrets" ]; then
        rm -f "$$hpcgate_secrets"
    fi
    hpcgate_record $exit_name "$$hpcgate_end"
fi
hpcgate_tell
${end}""")
