"""The pluggy host and its typed facade."""
