"""The Python client of the native REST API."""

from __future__ import annotations

from hpcgate.client.client import Client

__all__ = ["Client"]
