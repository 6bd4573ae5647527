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
    "a|b:c;d,e=f&g%h@i",
    "continued \\\n#PBS -W block=true",
    "'\"'\"'`$\\",
    "4 KB \u2603 ' \" $ ` \\ \n" * 256,
)

#: For names: one line.
AWKWARD_NAMES: Final = (
    "two words",
    'it\'s a "name"; $(id) `id` $HOME \\',
    "-N --job-name=x",
    "%j/%x ../../up #PBS",
    "\u00fcn\u00efc\u00f6d\u00e9 \u2603 \u6f22\u5b57",
    "n" * 300,
    "a|b:c;d,e=f&g@h",
    "~/x *? [a-z] {a,b} !",
)

#: For folders and files.
AWKWARD_PATHS: Final = (
    "two words",
    'it\'s a "name"',
    "$HOME `id` $(id)",
    "back\\slash \\n",
    "%j %x %% 100%",
    "a|b:c;d,e=f&g@h",
    "host:file",
    "^array_index^ $PBS_JOBID",
    "-o --output=x",
    "*? [a-z] {a,b} ~ #",
    "\u00fcn\u00efc\u00f6d\u00e9 \u2603 \u6f22\u5b57",
    "n" * 200,
)
