"""Base classes that scheduler plugins subclass."""
