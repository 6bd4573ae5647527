"""Pages for people: static files, and (later) the user interface."""
