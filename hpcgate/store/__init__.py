"""Rows and models: what is kept, and nothing about why."""
