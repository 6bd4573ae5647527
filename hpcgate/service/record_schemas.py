"""What the files of an archive must be, as JSON schemas.

They take what every version of ClusterCockpit has written, from the first archives to today's: ``exclusive`` and
``shared``, units as text and as objects, with tags and without. What it takes unchecked when a job begins (a number or
a time of 0, or less) may be so here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from hpcgate.errors import ConfigError
from hpcgate.model.record import RecordState, Sharing

_INT32: Final = 2**31 - 1
_INT64: Final = 2**63 - 1
#: Sums of times stay within 64 bits.
_SECONDS: Final = 2**53


def _whole(least: int, most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most}


_TEXT: Final = {"type": "string"}
_GIVEN: Final = {"type": "string", "minLength": 1}
#: A name that can be a folder, and leads nowhere else.
_NAME: Final = {"type": "string", "pattern": r"^\w[\w.\-]*\Z"}
_AMOUNT: Final = {"type": "number", "minimum": 0}
_UNIT: Final = {
    "anyOf": [_TEXT, {"type": "object", "required": ["base"], "properties": {"base": _TEXT, "prefix": _TEXT}}]
}
_NUMBER_OF_IDS: Final = {"type": "array", "items": {"type": "array", "items": _whole(0, _INT32)}}

META: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "meta.json of a job",
    "type": "object",
    "required": ["jobId", "user", "project", "cluster", "numNodes", "startTime", "jobState", "duration", "resources"],
    "properties": {
        "jobId": _whole(-_INT64, _INT64),
        "user": _GIVEN,
        "project": _TEXT,
        "cluster": _NAME,
        "subCluster": _TEXT,
        "partition": _TEXT,
        "arrayJobId": _whole(-_INT64, _INT64),
        "numNodes": _whole(1, _INT32),
        "numHwthreads": _whole(0, _INT32),
        "numAcc": _whole(0, _INT32),
        "exclusive": _whole(0, 2),
        "shared": {"enum": list(Sharing)},
        "monitoringStatus": _whole(0, 3),
        "smt": _whole(0, _INT32),
        "jobState": {"enum": [state for state in RecordState if state.final]},
        "submitTime": _whole(-_SECONDS, _SECONDS),
        "startTime": _whole(-_SECONDS, _SECONDS),
        "duration": _whole(0, _SECONDS),
        "walltime": _whole(0, _SECONDS),
        "resources": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["hostname"],
                "properties": {
                    "hostname": _GIVEN,
                    "hwthreads": {"type": ["array", "null"], "items": _whole(0, _INT32)},
                    "accelerators": {"type": ["array", "null"], "items": _TEXT},
                    "configuration": _TEXT,
                },
            },
        },
        "tags": {
            "type": ["array", "null"],
            "uniqueItems": True,
            "items": {
                "type": "object",
                "required": ["type", "name"],
                "properties": {"type": _GIVEN, "name": _GIVEN, "scope": _TEXT, "owner": _TEXT},
            },
        },
        "metaData": {"type": ["object", "null"], "additionalProperties": _TEXT},
        "statistics": {
            "type": ["object", "null"],
            "additionalProperties": {
                "type": "object",
                "required": ["unit", "avg", "min", "max"],
                "properties": {"unit": _UNIT, "avg": _AMOUNT, "min": _AMOUNT, "max": _AMOUNT},
            },
        },
        "hpcgate": {
            "type": "object",
            "properties": {
                "name": _TEXT,
                "site": _TEXT,
                "attempt": _whole(1, _INT32),
                "index": _whole(0, _INT32),
                "source": {"enum": ["gateway", "reported"]},
            },
        },
    },
}

CLUSTER: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "cluster.json of a cluster",
    "type": "object",
    "required": ["name", "metricConfig", "subClusters"],
    "properties": {
        "name": _NAME,
        "metricConfig": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "unit", "scope", "timestep"],
                "properties": {"name": _GIVEN, "unit": _UNIT, "scope": _GIVEN, "timestep": _whole(1, _INT32)},
            },
        },
        "subClusters": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": [
                    *("name", "nodes", "processorType", "socketsPerNode", "coresPerSocket", "threadsPerCore"),
                    *("flopRateScalar", "flopRateSimd", "memoryBandwidth", "topology"),
                ],
                "properties": {
                    "name": _TEXT,
                    "nodes": _TEXT,
                    "processorType": _TEXT,
                    "socketsPerNode": _whole(1, _INT32),
                    "coresPerSocket": _whole(1, _INT32),
                    "threadsPerCore": _whole(1, _INT32),
                    "topology": {
                        "type": "object",
                        "required": ["node", "socket", "memoryDomain"],
                        "properties": {
                            "node": {"type": "array", "items": _whole(0, _INT32)},
                            "socket": _NUMBER_OF_IDS,
                            "memoryDomain": _NUMBER_OF_IDS,
                        },
                    },
                },
            },
        },
    },
}

#: Says what is wrong with a document; ``None`` = nothing.
Checker = Callable[[object], str | None]


@cache
def checker(kind: str) -> Checker:
    """What checks documents of one kind, ``meta`` or ``cluster``.

    Raises:
        ConfigError: the package jsonschema is not installed.
    """
    # Imported here: it takes a fifth of a second, and is an extra.
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match
    except ModuleNotFoundError as error:
        raise ConfigError(f"archives of records need {error.name}: pip install 'hpcgate[records]'") from error
    validator = Draft202012Validator({"meta": META, "cluster": CLUSTER}[kind])

    def check(document: object) -> str | None:
        if validator.is_valid(document):
            return None
        error = best_match(validator.iter_errors(document))
        assert error is not None, "it is not valid"
        place = ".".join(map(str, error.absolute_path))
        return f"{place}: {error.message}"[:500] if place else error.message[:500]

    return check
