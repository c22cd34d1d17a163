"""Settings of the collector: where a value comes from, and every mistake at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from collectors import Collector, command

from agent.settings import load as load_agents
from collector.settings import Settings, Spec, specs
from collector.settings_reading import load
from tracking.errors import SettingsFault


def test_later_sources_win_setting_by_setting(tmp_path: Path) -> None:
    (tmp_path / "collector.toml").write_text('port = 1\nquery_s = 2\nhost = "::1"\nidle_s = 60\n')
    env = {"HOMING_COLLECTOR_PORT": "2", "HOMING_COLLECTOR_QUERY_S": "2.5", "HOMING_HOME": "x"}
    loaded = load(tmp_path, env, {"port": "3"})
    made, origins = loaded.settings, loaded.origins
    assert (made.port, made.query_s, made.host, made.idle_s) == (3, 2.5, "::1", 60.0)
    assert origins["port"] == "command line"
    assert origins["query_s"] == "HOMING_COLLECTOR_QUERY_S"
    assert origins["host"] == str(tmp_path / "collector.toml")
    assert origins["engine"] == "default"
    assert isinstance(made.idle_s, float)


def test_every_mistake_is_said_at_once_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "collector.toml"
    file.write_text(
        'prot = 1\nport = "7780"\ntrusted_proxies = ["10.0.0.0/8", "proxy"]\nper_peer = true\n'
    )
    env = {
        "HOMING_COLLECTOR_HOTS": "::",
        "HOMING_COLLECTOR_DRAIN_S": "nan",
        "HOMING_COLLECTOR_LOG": "jsno",
        "HOMING_COLLECTOR_GEOIP_FILE": "geo.mmdb",
    }
    with pytest.raises(SettingsFault) as caught:
        load(tmp_path, env, {"connections": "0"})
    said = str(caught.value).splitlines()
    assert said == [
        f"{file}: no setting is named 'prot', did you mean port?",
        f"{file}: port: must be a whole number from 0 to 65,535, got '7780'",
        f"{file}: trusted_proxies: must be addresses or networks such as 10.0.0.0/8, got 'proxy'",
        f"{file}: per_peer: must be a whole number from 1 to 1,000,000, got true",
        "environment: no setting is named 'HOMING_COLLECTOR_HOTS', did you mean"
        " HOMING_COLLECTOR_HOST?",
        "HOMING_COLLECTOR_DRAIN_S: must be a number from 0 to 600, got 'nan'",
        "HOMING_COLLECTOR_LOG: must be one of text, json, did you mean json?",
        "HOMING_COLLECTOR_GEOIP_FILE: must be an absolute path, or empty, got 'geo.mmdb'",
        "command line: --connections: must be a whole number from 1 to 1,000,000, got 0",
    ]


@pytest.mark.parametrize("spec", list(specs()), ids=lambda spec: spec.key)
def test_a_default_is_within_its_own_bounds_and_reads_back(spec: Spec, tmp_path: Path) -> None:
    value = spec.default
    said = ",".join(value) if isinstance(value, tuple) else str(value)
    loaded = load(tmp_path, {spec.variable: said})
    assert getattr(loaded.settings, spec.key) == value
    assert loaded.origins[spec.key] == spec.variable
    file = tmp_path / "one.toml"
    file.write_text(f"{spec.key} = {json.dumps(value)}\n")
    assert load(tmp_path, {}, file=file).settings == Settings()


def test_a_file_that_others_may_change_decides_nothing(tmp_path: Path) -> None:
    file = tmp_path / "collector.toml"
    file.write_text("port = 1\n")
    file.chmod(0o666)
    with pytest.raises(SettingsFault, match="changed by others"):
        load(tmp_path, {})
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(SettingsFault, match="not a file"):
        load(tmp_path, {})
    with pytest.raises(SettingsFault, match="does not exist"):
        load(tmp_path, {"HOMING_COLLECTOR_CONFIG": str(tmp_path / "missing.toml")})
    file.unlink()
    file.write_text("port = \n")
    with pytest.raises(SettingsFault, match="line 1"):
        load(tmp_path, {})


def test_config_shows_what_a_server_would_take(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('trusted_proxies = ["10.0.0.1", "192.0.2.0/24"]\n')
    words = ("config", "--config", str(other), "--drain-s", "3", "--json")
    done = command(*words, folder=tmp_path / "data")
    assert done.returncode == 0, done.stderr
    rows = {row["key"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert list(rows) == [spec.key for spec in specs()]
    assert rows["trusted_proxies"]["value"] == ["10.0.0.1", "192.0.2.0/24"]
    assert (rows["drain_s"]["value"], rows["drain_s"]["origin"]) == (3.0, "command line")
    assert all(row["doc"] and row["bounds"] for row in rows.values())
    plain = command("config", folder=tmp_path / "data").stdout
    assert "retention_days" in plain
    assert "10.0.0.1" not in plain


def test_a_server_refuses_to_start_on_a_mistake(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "collector.toml").write_text("prot = 1\n")
    done = command("serve", folder=folder)
    assert done.returncode == 78
    assert "did you mean port?" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_reach_the_server(run: Callable[..., Collector]) -> None:
    far_end = run("--body-mib", "1", "--app-burst", "5", "--app-events-per-s", "0.01")
    far_end.app("A")
    far_end.app("B")
    assert far_end.request("POST", "/app/A/track", b" " * 1_100_000)[0] == 413
    events = [{"name": "E", "id": n, "machineId": "m"} for n in range(6)]
    assert far_end.request("POST", "/app/B/track", {"data": events})[0] == 200  # a debt
    assert far_end.request("POST", "/app/B/track", {"data": events[:1]})[0] == 429
    assert far_end.request("POST", "/app/A/track", {"data": events[:1]})[0] == 200


def test_the_agent_leaves_settings_of_a_collector_alone(tmp_path: Path) -> None:
    file = tmp_path / "homing.toml"
    said = load_agents(file, {"HOMING_COLLECTOR_PORT": "1", "HOMING_CLICKHOUSE_PASSWORD": "x"})
    assert said.describe() == load_agents(file, {}).describe()
