"""The sites that the kit works at."""

from __future__ import annotations

from pathlib import Path

from hpcgate.config import config_from, load_config
from hpcgate.errors import ConfigError
from hpcgate.gateway import build_site
from hpcgate.model.site import Site
from hpcgate.plugin.manager import PluginHost
from hpcgate.transport.account import open_local
from hpcgate.transport.base import Transport


def host_of(name: str, plugin: object) -> PluginHost:
    """A host that holds this plugin and no other.

    Raises:
        PluginError: the plugin breaks the contract.
    """
    host = PluginHost.load(extra=[(name, plugin)], environ={"HPCGATE_LOAD_PLUGINS": ""})
    host.scheduler(name)
    return host


def default_site(name: str, plugin: object, folder: Path) -> Site:
    """A site on this machine with the plugin's default settings.

    Args:
        name: of the scheduler.
        plugin: it.
        folder: below which job folders are made; theirs gets an awkward name, as users' have.

    Raises:
        ConfigError: the plugin has a setting without default.
    """
    table = {"scheduler": name, "work_root": str(folder / "it's a folder")}
    config = config_from({"sites": {"kit": table}}, home=folder)
    return build_site(config, "kit", config.sites["kit"], host_of(name, plugin))


def site_of_file(name: str, plugin: object, file: Path) -> Site:
    """The site with this scheduler that a configuration file names.

    Raises:
        ConfigError: the file is wrong, or has no such site, or more than one.
    """
    config = load_config(file)
    names = [each for each, table in config.sites.items() if table.scheduler == name]
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise ConfigError(f"{file}: one site with scheduler '{name}' is wanted; there is {found}")
    return build_site(config, names[0], config.sites[names[0]], host_of(name, plugin))


def open_transport(site: Site, host: PluginHost) -> Transport:
    """Opens the site's transport as the account that polls.

    Raises:
        ConfigError: no plugin brings it.
    """
    if site.transport == "local":
        return open_local(site, None)
    openers = host.transports()
    if site.transport not in openers:
        raise ConfigError(f"transport '{site.transport}' of site '{site.name}' is not installed")
    return openers[site.transport](site, site.identity.poller)
