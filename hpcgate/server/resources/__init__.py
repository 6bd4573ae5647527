"""The resources of the native API: one folder each, with its schemas and its routes."""

from __future__ import annotations

from collections.abc import Sequence

from hpcgate.server.resources.events.routes import blp as events
from hpcgate.server.resources.groups.routes import blp as groups
from hpcgate.server.resources.jobs.control import blp as job_control
from hpcgate.server.resources.jobs.files import blp as job_files
from hpcgate.server.resources.jobs.history import blp as job_history
from hpcgate.server.resources.jobs.output import blp as job_output
from hpcgate.server.resources.jobs.routes import blp as jobs
from hpcgate.server.resources.jobs.submit import blp as job_submit
from hpcgate.server.resources.me.routes import blp as me
from hpcgate.server.resources.plugins.routes import blp as plugins
from hpcgate.server.resources.projects.routes import blp as projects
from hpcgate.server.resources.records.routes import blp as records
from hpcgate.server.resources.shares.routes import blp as shares
from hpcgate.server.resources.sites.routes import blp as sites
from hpcgate.server.resources.tokens.exchange import blp as delegation
from hpcgate.server.resources.tokens.keys import blp as keys
from hpcgate.server.resources.tokens.routes import blp as tokens
from hpcgate.server.resources.users.routes import blp as users
from hpcgate.server.resources.webhooks.routes import blp as webhooks
from hpcgate.server.smorest import Blueprint

#: In the order of the document.
BLUEPRINTS: Sequence[Blueprint] = (
    job_submit,
    jobs,
    job_control,
    job_output,
    job_files,
    job_history,
    events,
    records,
    webhooks,
    sites,
    tokens,
    delegation,
    keys,
    me,
    users,
    groups,
    projects,
    shares,
    plugins,
)
