"""Accounting records."""
