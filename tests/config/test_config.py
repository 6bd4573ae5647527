"""The configuration file: one test per way in which it can be wrong, and what holds when it is right."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from hpcgate.config import Config, config_from, default_home, load_config
from hpcgate.errors import ConfigError


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "hpcgate.toml"
    file.write_text(text, encoding="utf-8")
    return load_config(file, {"HPCGATE_HOME": str(tmp_path / "home")})


SITE = '[sites.a]\nscheduler = "local"\n'
IDENTITY = SITE + "[sites.a.identity]\n"
SSH = SITE + 'transport = "ssh"\nssh = {host = "h", user = "svc"}\n[sites.a.identity]\n'
MAPPED = SSH + 'mode = "mapped"\n'
CERTIFIED = SSH + 'mode = "certificate"\n'
KEYS = 'key_dir = "/keys"\n'

PROJECT = SITE + '[projects.p]\nsite = "a"\n'
CLUSTER = "[clusters.c.subclusters]\n"
SHARE = SITE + '[shares.s]\nsite = "a"\n'

WRONG = [
    # (the file, the place that must be named, words that must be said)
    ("[gatway]\n", "[gatway]", "did you mean 'gateway'"),
    ('[projects.p]\nsite = "locl"\n', "[projects.p] site", "did you mean 'local'"),
    ("[projects.p]\nhours = 1\n", "[projects.p] site", "is required"),
    ("[retention]\nevents_days = 0.5\n", "[retention] events_days", "webhooks and mail need events for 1 days"),
    (PROJECT + "hours = -1\n", "[projects.p] hours", "must be at least 0"),
    (PROJECT + 'weighting = "gpu"\n', "[projects.p] weighting", "must be wall, node, core"),
    (PROJECT + "[projects.p.members.ann]\nspace_kb = -1\n", "[projects.p.members.ann] space_kb", "must be at least 0"),
    (PROJECT + 'default = true\n[projects.q]\nsite = "a"\ndefault = true\n', "[projects.q] default", "project 'p'"),
    (SHARE + "max_capacity = 50\n", "[shares.s] max_capacity", "from capacity (100)"),
    (SHARE + "capacity = 9\nmax_capacity = 50\n", "[shares.s] cpus", "is required"),
    (SITE + "default_walltime_s = 0\n", "[sites.a] default_walltime_s", "must be more than 0"),
    ("gateway = 1\n", "[gateway]", "must be a table of fields, not a whole number"),
    ('[gateway]\ndatabse = "x"\n', "[gateway] databse", "did you mean 'database'"),
    ("[gateway]\ndatabase = 1\n", "[gateway] database", "must be text, not a whole number (1)"),
    ('[server]\nthreads = "8"\n', "[server] threads", "must be a whole number, not text ('8')"),
    ("[server]\nthreads = 8.0\n", "[server] threads", "must be a whole number"),
    ("[server]\nthreads = true\n", "[server] threads", "not true or false"),
    ("[server]\nthreads = 0\n", "[server] threads", "must be more than 0"),
    ("[server]\nthreads = 100000\n", "[server] threads", "must be at most 1024, not 100000"),
    ("[server]\nmax_streams = 1000000\n", "[server] max_streams", "must be at most 16384"),
    ("[server]\nmax_streams = -1\n", "[server] max_streams", "must be more than 0"),
    ("[server]\nmax_body_bytes = 0\n", "[server] max_body_bytes", "must be more than 0"),
    ('[server]\ntrusted_proxies = "127.0.0.1"\n', "[server] trusted_proxies", "must be a list, not text"),
    ("[server]\ninsecure_http = 1\n", "[server] insecure_http", "must be true or false"),
    ("[dialects.x]\nmax_body_bytes = 0\n", "[dialects.x] max_body_bytes", "must be more than 0"),
    ("[auth]\ntoken_ttl_s = -5\n", "[auth] token_ttl_s", "must be more than 0"),
    ("[auth]\ntoken_ttl = 5\n", "[auth] token_ttl", "did you mean 'token_ttl_s'"),
    ("[limits]\nsubmit_timeout_s = nan\n", "[limits] submit_timeout_s", "must be a finite number"),
    ("[limits]\nlost_grace_s = inf\n", "[limits] lost_grace_s", "must be a finite number"),
    ("[limits]\nlost_grace_s = -1.0\n", "[limits] lost_grace_s", "must not be negative (-1.0)"),
    ("[limits]\nmax_active_jobs = 0\n", "[limits] max_active_jobs", "must be more than 0"),
    ("[limits]\nmax_bulk_jobs = 1.5\n", "[limits] max_bulk_jobs", "must be a whole number"),
    ("sites = []\n", "[sites]", "must be a table"),
    ("[sites]\na = 1\n", "[sites] a", "must be a table of fields"),
    ("[sites.a]\n", "[sites.a] scheduler", "is required"),
    ("[sites.a]\nscheduler = 1\n", "[sites.a] scheduler", "must be text"),
    (SITE + 'transport = "telnet"\n', "[sites.a] transport", "'telnet' is unknown; it must be local or ssh"),
    (SITE + 'transport = "ssh"\n', "[sites.a] ssh", "is required for transport ssh"),
    (SITE + 'transport = "ssh"\n[sites.a.ssh]\nport = 22\n', "[sites.a.ssh] host", "is required"),
    (SITE + 'transport = "ssh"\n[sites.a.ssh]\nhost = "h"\nprot = 22\n', "[sites.a.ssh] prot", "did you mean 'port'"),
    (SITE + 'shceduler = "local"\n', "[sites.a] shceduler", "did you mean 'scheduler'"),
    (SITE + "poll = {min_s = 0}\n", "[sites.a] poll", "0 < min_s"),
    (SITE + "poll = {min_s = 9, max_s = 3}\n", "[sites.a] poll", "<= max_s"),
    (SITE + "poll = {spool_s = 0}\n", "[sites.a] poll", "spool_s > 0"),
    (SITE + "poll = {spool_s = nan}\n", "[sites.a.poll] spool_s", "must be a finite number"),
    (SITE + "poll = {min = 1}\n", "[sites.a.poll] min", "did you mean 'min_s'"),
    (SITE + "poll = 5\n", "[sites.a] poll", "must be a table of fields"),
    (SITE + '[sites.a.identity]\nmode = "root"\n', "[sites.a.identity] mode", "must be service, mapped or certificate"),
    (IDENTITY + 'mode = "mapped"\n', "[sites.a.identity] mode", "'mapped' needs transport ssh"),
    (IDENTITY + 'run_as = "root"\n', "[sites.a.identity] run_as", "'root' is a system account"),
    (IDENTITY + 'run_as = "-x"\n', "[sites.a.identity] run_as", "'-x' is no name of an account"),
    (MAPPED + 'run_as = "jobs"\n', "[sites.a.identity] run_as", "needs transport local"),
    (IDENTITY + 'accounts = {a = "b"}\n', "[sites.a.identity] accounts", "has no meaning for mode service"),
    (IDENTITY + 'poller = "b"\n', "[sites.a.identity] poller", "has no meaning for mode service"),
    (IDENTITY + "certificate_s = 4\n", "[sites.a.identity] certificate_s", "4 is out of range; it must be 5 to 86400"),
    (MAPPED + 'accounts = {ann = "ann1"}\n', "[sites.a.identity] key_dir", "is required for mode mapped"),
    (MAPPED + KEYS + "\n", "[sites.a.identity] accounts", "is required for mode mapped"),
    (MAPPED + KEYS + 'ca_key_file = "/ca"\n', "[sites.a.identity] ca_key_file", "has no meaning for mode mapped"),
    (CERTIFIED + 'accounts = {ann = "ann1"}\n', "[sites.a.identity] ca_key_file", "is required for mode certificate"),
    (CERTIFIED + KEYS, "[sites.a.identity] key_dir", "has no meaning for mode certificate"),
    *(
        (
            MAPPED + KEYS + f'accounts = {{ann = "{account}"}}\n',
            "[sites.a.identity] accounts",
            f"'ann' = '{account}': it {why}",
        )
        for account, why in (
            ("root", "is a system account"),
            ("daemon", "is a system account"),
            ("systemd-network", "is a system account"),
            ("", "is no name of an account"),
            ("-l", "is no name of an account"),
            ("0", "is no name of an account"),
            ("a b", "is no name of an account"),
            ("../x", "is no name of an account"),
            ("svc", "is the account that polls"),
        )
    ),
    (
        MAPPED + KEYS + 'accounts = {ann = "x1", bob = "x1"}\n',
        "[sites.a.identity] accounts",
        "'ann' and 'bob' would all run jobs as 'x1' and could read each other's files",
    ),
    (MAPPED + KEYS + 'poller = "root"\naccounts = {ann = "x"}\n', "[sites.a.identity] poller", "'root' may not poll"),
    (
        SITE
        + 'transport = "ssh"\nevent_spool = "~/events"\nssh = {host = "h"}\n[sites.a.identity]\nmode = "mapped"\n'
        + KEYS,
        "[sites.a] event_spool",
        "must be an absolute path",
    ),
    (
        SITE + 'transport = "ssh"\nssh = {host = "h"}\n[sites.a.identity]\nmode = "mapped"\n' + KEYS,
        "[sites.a.identity] poller",
        "is required for mode mapped, unless ssh.user is given",
    ),
    (SITE + "[sites.a.identity]\nmod = 1\n", "[sites.a.identity] mod", "did you mean 'mode'"),
    (SITE + 'aliases = ["a"]\n', "[sites.a] aliases", "'a' already names site 'a'"),
    (SITE + 'aliases = ["x"]\n[sites.x]\nscheduler = "local"\n', "[sites.x] aliases", "'x' already names site 'a'"),
    (SITE + 'aliases = "x"\n', "[sites.a] aliases", "must be a list"),
    (SITE + "runtimes = {singularity = 1}\n", "[sites.a.runtimes] singularity", "must be text"),
    (SITE + 'runtimes = {singularty = "podman"}\n', "[sites.a.runtimes] singularty", "did you mean 'singularity'?"),
    (SITE + 'runtimes = {docker = "rkt"}\n', "[sites.a.runtimes] docker", "'rkt' is no container runtime; it must be"),
    (SITE + 'runtimes = {host = "host"}\n', "[sites.a.runtimes] host", "'host' is no container runtime"),
    (SITE + "settings = 3\n", "[sites.a] settings", "must be a table"),
    ('[sites."a b"]\nscheduler = "local"\n', "[sites] a b", "letters, digits and - _ . only"),
    ('[sites.""]\nscheduler = "local"\n', "[sites]", "letters, digits and - _ . only"),
    ('[records]\narchive = "records"\n', "[records] archive", "'records' must be an absolute path"),
    ("[clusters.c]\n", "[clusters.c] subclusters", "is required"),
    ("[clusters.c]\nsubclusters = {}\n", "[clusters.c] subclusters", "must have an entry such as main"),
    ('[clusters."a/b"]\nsubclusters = {x = "n1"}\n', "[clusters] a/b", "a cluster's name has letters"),
    (CLUSTER + '"a b" = "n1"\n', "[clusters.c.subclusters] a b", "a sub-cluster's name has letters"),
    (CLUSTER + "main = 1\n", "[clusters.c.subclusters] main", "must be text or a table of fields, not a whole number"),
    (CLUSTER + 'main = {node = "n1"}\n', "[clusters.c.subclusters.main] node", "did you mean 'nodes'"),
    (CLUSTER + 'main = "n[1-"\n', "[clusters.c.subclusters.main] nodes", "'n[1-' is no node list such as"),
    (CLUSTER + 'main = "n[9-1]"\n', "[clusters.c.subclusters.main] nodes", "'n[9-1]' is no node list"),
    (CLUSTER + 'main = "@all"\n', "[clusters.c.subclusters.main] nodes", "'@all' is no node list"),
    (CLUSTER + 'main = "n[1-9]!n2"\n', "[clusters.c.subclusters.main] nodes", "is no node list"),
    (CLUSTER + 'main = "n[1-999999999]"\n', "[clusters.c.subclusters.main] nodes", "more than 100000 names"),
    (CLUSTER + 'a = "n[1-3]"\nb = "m1,n3"\n', "[clusters.c.subclusters.b] nodes", "'n3' is of sub-cluster 'a' already"),
    (CLUSTER + 'a = {nodes = "n1", cores = 0}\n', "[clusters.c.subclusters.a] cores", "must be at least 1, not 0"),
    (CLUSTER + "a = {accelerators = -1}\n", "[clusters.c.subclusters.a] accelerators", "must be at least 0, not -1"),
    (SITE + 'cluster = "x"\n' + CLUSTER + 'a = "n1"\n', "[sites.a] cluster", "no table [clusters.x]; known are: c"),
    ('[dialects.x]\nprefix = ["/x"]\n', "[dialects.x] prefix", "must be text"),
    ('[dialects.x]\nhost = ["a"]\n', "[dialects.x] host", "did you mean 'hosts'"),
]


@pytest.mark.parametrize(("text", "place", "words"), WRONG, ids=[f"{place} {words}" for _, place, words in WRONG])
def test_what_is_wrong_is_said_with_file_table_and_key(tmp_path, text, place, words):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    said = str(caught.value)
    assert f"{tmp_path / 'hpcgate.toml'}: {place}" in said
    assert words in said
    assert "\n" not in said


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, '[gateway]\nx = 1\n[server]\nthreads = "a"\n[sites.a]\ny = 1\n')
    for place in ("[gateway] x", "[server] threads", "[sites.a] y", "[sites.a] scheduler"):
        assert place in str(caught.value)


def test_what_is_no_toml_is_said_with_the_line(tmp_path):
    with pytest.raises(ConfigError, match=r"hpcgate\.toml: is no valid TOML: .*line 2"):
        load(tmp_path, "[gateway]\ndatabase = \n")


def test_what_is_no_text_is_no_toml(tmp_path):
    file = tmp_path / "x.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is no valid TOML"):
        load_config(file, {})


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_file_that_was_named_must_be_there(tmp_path, by):
    gone = tmp_path / "gone.toml"
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read: No such file"):
        load_config(gone) if by == "argument" else load_config(None, {"HPCGATE_CONFIG": str(gone)})


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path, {})


def test_without_a_file_there_is_one_local_site_in_the_home(tmp_path):
    config = load_config(None, {"HPCGATE_HOME": str(tmp_path)})
    assert config.source is None
    assert {name: site.scheduler for name, site in config.sites.items()} == {"local": "local"}
    assert config.database_url == f"sqlite:///{tmp_path / 'hpcgate.db'}"
    assert config.secret_key_path == tmp_path / "secret"


def test_the_file_in_the_home_is_read_unless_another_is_named(tmp_path):
    (tmp_path / "hpcgate.toml").write_text('[sites.home]\nscheduler = "local"\n')
    (tmp_path / "env.toml").write_text('[sites.env]\nscheduler = "local"\n')
    (tmp_path / "arg.toml").write_text('[sites.arg]\nscheduler = "local"\n')
    environ = {"HPCGATE_HOME": str(tmp_path)}
    assert list(load_config(None, environ).sites) == ["home"]
    environ["HPCGATE_CONFIG"] = str(tmp_path / "env.toml")
    assert list(load_config(None, environ).sites) == ["env"]
    assert list(load_config(tmp_path / "arg.toml", environ).sites) == ["arg"]


def test_the_home_is_absolute_and_defaults_to_a_folder_of_the_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_home({}) == tmp_path / ".hpcgate"
    assert default_home({"HPCGATE_HOME": ""}) == tmp_path / ".hpcgate"
    assert default_home({"HPCGATE_HOME": "~/x"}) == tmp_path / "x"
    assert default_home({"HPCGATE_HOME": "y"}) == tmp_path / "y"


def test_a_whole_file(tmp_path):
    config = load(
        tmp_path,
        """
        [gateway]
        database = "sqlite:////var/lib/hpcgate/db"
        public_url = "https://gate.example.org"
        secret_key_file = "/etc/hpcgate/secret"
        [server]
        trusted_proxies = ["127.0.0.1"]
        [limits]
        submit_timeout_s = 5
        [sites.ares]
        scheduler = "slurm"
        transport = "ssh"
        aliases = ["ares.example.org"]
        poll = {min_s = 20, spool_s = 4}
        runtimes = {singularity = "podman"}
        [sites.ares.ssh]
        host = "login.ares.example.org"
        [sites.ares.identity]
        mode = "mapped"
        poller = "svc"
        key_dir = "/keys"
        accounts = {ann = "plgann", "bob@example.org" = "plgbob"}
        [sites.ares.settings]
        anything = {goes = ["here"]}
        [dialects.openpai]
        hosts = ["pai.example.org"]
        """,
    )
    assert config.database_url == "sqlite:////var/lib/hpcgate/db"
    assert config.secret_key_path == Path("/etc/hpcgate/secret")
    assert config.server.trusted_proxies == ("127.0.0.1",)
    assert config.limits.submit_timeout_s == 5.0
    ares = config.sites["ares"]
    assert (ares.ssh.host, ares.ssh.port) == ("login.ares.example.org", 22)
    assert (ares.identity.mode, ares.identity.poller) == ("mapped", "svc")
    assert ares.identity.accounts == {"ann": "plgann", "bob@example.org": "plgbob"}
    assert ares.settings == {"anything": {"goes": ["here"]}}
    poll = ares.polls()
    assert (poll.min_s, poll.max_s, poll.spool_s) == (20, 120, 4)
    assert config.dialects["openpai"].hosts == ("pai.example.org",)
    assert config.where("server") == f"{tmp_path / 'hpcgate.toml'}: [server]"


def test_a_local_site_is_asked_more_often(tmp_path):
    poll = load(tmp_path, SITE).sites["a"].polls()
    assert (poll.min_s, poll.max_s, poll.spool_s) == (0.5, 5.0, 0.1)


def test_a_configuration_for_embedding_needs_no_file(tmp_path):
    config = config_from({"sites": {"x": {"scheduler": "local"}}}, home=tmp_path)
    assert (config.source, list(config.sites)) == (None, ["x"])
    with pytest.raises(ConfigError, match=r"^configuration: \[sites.x\] scheduler: is required$"):
        config_from({"sites": {"x": {}}}, home=tmp_path)


def test_a_sub_cluster_is_a_node_list_or_a_table(tmp_path):
    config = load(
        tmp_path,
        """
        [sites.a]
        scheduler = "local"
        cluster = "fritz"
        [clusters.fritz.subclusters]
        main = "f[001-100], f200"
        [clusters.fritz.subclusters.gpu]
        nodes = "g[1-2]"
        sockets = 2
        cores = 64
        threads = 1
        memory = 512_000
        accelerators = 4
        """,
    )
    main, gpu = config.clusters["fritz"].cluster("fritz").subclusters
    assert (main.name, main.nodes, main.cores) == ("main", "f[001-100], f200", None)
    assert (gpu.sockets, gpu.cores, gpu.threads, gpu.memory_mib, gpu.accelerators) == (2, 64, 1, 512_000, 4)


def test_without_clusters_a_site_may_name_any(tmp_path):
    assert load(tmp_path, SITE + 'cluster = "x"\n').sites["a"].cluster == "x"


def test_node_lists_say_what_is_to_be_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ClusterShell.NodeSet", None)
    with pytest.raises(
        ConfigError,
        match=re.escape("[clusters] c: node lists need ClusterShell.NodeSet: pip install 'hpcgate[records]'"),
    ):
        load(tmp_path, CLUSTER + 'main = "n1"\n')
