"""Text that scripts, directives and command lines have stumbled over."""

from __future__ import annotations

from typing import Final

#: For arguments and values of environment variables: anything but NUL.
AWKWARD: Final = (
    "two words",
    "  spaces around  ",
    "it's",
    'say "hello"',
    "$HOME ${HOME} $(id) `id`",
    "back\\slash \\n \\",
    "*? [a-z] {a,b} ~",
    "line one\nline two",
    "#!/bin/false\n#SBATCH --time=1\n#PBS -l walltime=1",
    "tab\there",
    "carriage\rreturn",
    "; exit 9 & | > x < y",
    "%j %% %s",
    "a=b,c=d",
    "-n",
    "--",
    "",
    "\u00fcn\u00efc\u00f6d\u00e9 \u2603 \u6f22\u5b57 \U0001f600",
    "EOF\nEOT",
    "trailing newline\n",
)

#: For names: one line.
AWKWARD_NAMES: Final = (
    "two words",
    'it\'s a "name"; $(id) `id` $HOME \\',
    "-N --job-name=x",
    "%j/%x ../../up #PBS",
    "\u00fcn\u00efc\u00f6d\u00e9 \u2603 \u6f22\u5b57",
    "n" * 300,
)
