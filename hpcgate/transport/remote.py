"""The one place where a list of arguments becomes a line for a shell, and where what came back is taken apart.

sshd hands every command to the account's login shell, which may print whatever it likes before and after. So the
line starts a POSIX shell that prints a random marker, runs the command under ``timeout``, and prints another marker
with the exit status; both on stdout and on stderr. Only what stands between the markers was printed by the command.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hpcgate.errors import OutputTooLarge, TransportError

#: Linux takes no longer single argument than 128 KiB, and the whole line is one.
MAX_LINE_BYTES: Final = 120_000
#: What a login shell may print before the command starts, bytes of each stream.
MAX_NOISE_BYTES: Final = 1 << 20
_STATUS: Final = re.compile(rb" (exit|kill) (\d+)\n")
_LONGEST_STATUS: Final = 16
#: Where the SFTP server of OpenSSH stands, by distribution.
_SFTP_SERVERS: Final = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/ssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib64/ssh/sftp-server",
    "/usr/local/libexec/sftp-server",
)
_DECODE: Final = """'eval "$(printf %b "$1")"'"""

# The marker stands in the line in two halves, so that a shell that echoes the line does not print it.
#
# `exit 137` and "killed by signal 9" are both 137 to a shell; but of the second it says a word on its stderr. So that
# stderr is caught, apart from the command's: whatever stands there before the number is that word. (bash keeps it to
# itself in posix mode; of INT and PIPE no shell says anything.) `timeout` dies of the signal that ended the command.
# It sends KILL, not TERM: the whole process group goes at once, with those in it who would not listen.
_SCRIPT: Final = """\
[ -n "$BASH_VERSION" ] && set +o posix
exec 3>&1 4>&2
printf '%s.begin\\n' {mark}
printf '%s.begin\\n' {mark} >&2
r=$( ( (exec 1>&3 2>&4 3>&- 4>&-
exec {command})
echo $?) 2>&1)
s=${{r##*[!0-9]}}
k=exit
[ "$r" = "$s" ] || k=kill
printf '%s.end %s %s\\n' {mark} $k $s
printf '%s.end %s %s\\n' {mark} $k $s >&2"""


def new_mark() -> str:
    """A marker that nobody can guess."""
    return secrets.token_hex(16)


def line(argv: Sequence[str], environment: Mapping[str, str], timeout_s: float, mark: str) -> str:
    """The line that a login shell gets.

    Args:
        argv: program and arguments.
        environment: added to the account's environment.
        timeout_s: after which the far side ends the command.
        mark: random, used once.

    Raises:
        TransportError: it cannot be carried: it is too long, or holds a NUL.
    """
    # The assignments stand before `timeout`, so that a program with `=` in its name is not taken for one.
    prefix = ["env", "--", *(f"{name}={value}" for name, value in environment.items())] if environment else []
    words = [*prefix, "timeout", "-s", "KILL", f"{timeout_s:.3f}", *argv]
    text = _for_any_shell(_SCRIPT.format(command=shlex.join(words), mark=mark))
    size = len(text.encode("utf-8", "surrogateescape"))
    if "\0" in text:
        raise TransportError(f"{argv[0]!r} cannot be started: an argument holds a NUL character", transient=False)
    if size > MAX_LINE_BYTES:
        raise TransportError(
            f"{argv[0]!r} cannot be started: its command line has {size} bytes; over ssh it may have {MAX_LINE_BYTES}",
            transient=False,
        )
    return text


def sftp_line(mark: str) -> str:
    """The line that starts the SFTP server, behind a marker."""
    return _for_any_shell(
        f"for p in {shlex.join(_SFTP_SERVERS)}; do\n"
        f"if [ -x $p ]; then printf '%s.begin\\n' {mark}; exec $p; fi\ndone\nexit 127"
    )


def _for_any_shell(script: str) -> str:
    """A line that means the same to sh, csh and fish, whichever the account has.

    They agree on single quotes, but csh allows no newline in them and looks for ``!``, and fish reads backslashes:
    so these three are written as octal numbers and put back by the POSIX shell.
    """
    coded = script.replace("\\", "\\0134").replace("!", "\\0041").replace("\n", "\\0012")
    return f"exec /bin/sh -c {_DECODE} sh {shlex.quote(coded)}"


@dataclass(slots=True)
class Stream:
    """One output stream of a command, cut out of what came from the far side.

    Args:
        mark: of the command.
        limit: bytes that the command may print; counted by the caller over both streams.
    """

    mark: str
    _raw: bytearray = field(default_factory=bytearray)
    _began: bool = False
    _searched: int = 0
    kind: str | None = None
    status: int | None = None

    @property
    def began(self) -> bool:
        """Whether the command was about to start."""
        return self._began

    @property
    def ended(self) -> bool:
        """Whether the command has ended, and all that it printed is here."""
        return self.status is not None

    @property
    def noise(self) -> bytes:
        """What was printed although the command never started."""
        return b"" if self._began else bytes(self._raw)

    @property
    def data(self) -> bytes:
        """What the command printed."""
        return bytes(self._raw) if self._began else b""

    @property
    def size(self) -> int:
        """How many bytes the command printed at least; exact once it has ended."""
        if not self._began:
            return 0
        return len(self._raw) if self.ended else max(0, len(self._raw) - len(self.mark) - _LONGEST_STATUS)

    def feed(self, data: bytes) -> None:
        """Takes what came.

        Raises:
            OutputTooLarge: the login shell prints without end.
        """
        if self.ended:
            return  # a background child, or the login shell once more
        self._raw += data
        if not self._began:
            self._find_begin()
        if self._began:
            self._find_end()

    def _find_begin(self) -> None:
        begin = f"{self.mark}.begin\n".encode()
        at = self._raw.find(begin, self._searched)
        if at >= 0:
            del self._raw[: at + len(begin)]
            self._began, self._searched = True, 0
            return
        self._searched = max(0, len(self._raw) - len(begin))
        if len(self._raw) > MAX_NOISE_BYTES:
            raise OutputTooLarge(f"the login shell printed more than {MAX_NOISE_BYTES} bytes before any command")

    def _find_end(self) -> None:
        end = f"{self.mark}.end".encode()
        at = self._raw.find(end, self._searched)
        if at < 0:
            self._searched = max(0, len(self._raw) - len(end))
            return
        self._searched = at
        said = _STATUS.match(self._raw, at + len(end))
        if said:
            self.kind, self.status = said[1].decode(), int(said[2])
            del self._raw[at:]


def exit_status(stream: Stream) -> int:
    """The exit status of an ended command; negative = minus the signal that ended it."""
    assert stream.status is not None
    return 128 - stream.status if stream.kind == "kill" and stream.status > 128 else stream.status
