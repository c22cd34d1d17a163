"""What an operator installs: the systemd unit, the Dockerfile, the Caddyfile.

There is no Docker daemon, and no Caddy, in these tests: each instruction is read, and what it
names must exist. The unit goes through systemd's own checks, and its command line is run.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from collectors import until

from collector.cli.parser import RUNNING, SETTINGS, USAGE, build
from collector.settings import Settings, specs

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging" / "collector"
UNIT = PACKAGING / "homing-collector.service"
INSTALLED = "/opt/homing/bin/homing"
HERE = str(Path(sys.executable).with_name("homing"))


@pytest.fixture
def unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(
        strict=False, delimiters=("=",), comment_prefixes=("#",), interpolation=None
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text())
    return parser


def test_systemd_finds_no_mistake_in_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(INSTALLED, HERE))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    # "Exposure", from 0 to 10; --threshold counts tenths.
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager"]
    done = subprocess.run(
        [*words, str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout[-200:]


def test_the_command_line_of_the_unit_serves_and_drains(
    unit: configparser.RawConfigParser, tmp_path: Path
) -> None:
    service = unit["Service"]
    words = shlex.split(service["ExecStart"].replace(INSTALLED, HERE))
    name, _, home = service["Environment"].partition("=")
    assert (name, home) == ("HOMING_HOME", "/var/lib/" + service["StateDirectory"])
    env = os.environ | {name: str(tmp_path / "home"), "HOMING_COLLECTOR_PORT": "0"}
    process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert process.stdout.readline().startswith(b"Serving on http://127.0.0.1:")
        assert (tmp_path / "home" / "collector").is_dir()
        process.send_signal(getattr(signal, service["KillSignal"]))
        assert process.wait(10) == 0
        lines = [json.loads(line) for line in process.stderr.read().splitlines()]
        assert [line["event"] for line in lines][-1] == "stopped"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_the_unit_waits_for_the_drain_and_repeats_no_mistake(
    unit: configparser.RawConfigParser,
) -> None:
    service = unit["Service"]
    assert float(service["TimeoutStopSec"]) > 2 * Settings().drain_s
    codes = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert codes == {USAGE, RUNNING, SETTINGS}
    assert int(service["LimitNOFILE"]) > Settings().connections
    assert service["User"] != "root"


def instructions() -> Iterator[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (PACKAGING / "Dockerfile").read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, " ".join(rest.split())


def test_every_instruction_of_the_dockerfile_names_what_exists() -> None:
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"}
    known |= {"HEALTHCHECK", "ENTRYPOINT", "CMD"}
    text = (ROOT / "pyproject.toml").read_text()
    least = re.search(r'^requires-python = ">=([0-9.]+)"', text, re.MULTILINE)
    assert least is not None
    stages: set[str] = set()
    copied: set[str] = set()
    for word, rest in instructions():
        assert word in known
        match word:
            case "FROM":
                image, *named = rest.split()
                assert image == f"python:{least[1]}-slim-bookworm"
                stages.update(named[1:])
            case "COPY":
                *sources, _ = [part for part in rest.split() if not part.startswith("--")]
                stage = re.search(r"--from=(\S+)", rest)
                if stage:
                    assert stage[1] in stages
                    continue
                for source in sources:
                    assert (ROOT / source).exists(), source
                    copied.add(source)
            case "RUN":
                for lock in re.findall(r"-r (\S+)", rest):
                    assert lock in copied
                assert "curl" not in rest
    # What the wheel is built of is all there.
    packages = re.search(r"^packages = \[(.*)\]", text, re.MULTILINE)
    assert packages is not None
    assert set(re.findall(r'"(\w+)"', packages[1])) <= copied
    assert {"icons", "pyproject.toml", "README.md", "LICENSE"} <= copied


def test_the_container_is_not_root_keeps_its_data_and_says_whether_it_is_ready() -> None:
    said = dict(instructions())
    order = [word for word, _ in instructions()]
    assert said["USER"] not in ("root", "0")
    assert order.index("USER") < order.index("ENTRYPOINT")
    env = dict(re.findall(r"(\w+)=(\S+)", said["ENV"]))
    assert env["HOMING_HOME"] == said["VOLUME"]
    variables = {spec.variable for spec in specs()}
    assert {name for name in env if name.startswith("HOMING_COLLECTOR_")} <= variables
    assert int(said["EXPOSE"]) == Settings().port
    assert getattr(signal, said["STOPSIGNAL"]) == signal.SIGTERM
    assert Settings().drain_s < 10  # `docker stop` kills after ten seconds
    entry, words = json.loads(said["ENTRYPOINT"]), json.loads(said["CMD"])
    assert entry == ["homing", "collector"]
    build().parse_args(words)


def test_the_health_check_of_the_container_tells_ready_from_not(tmp_path: Path) -> None:
    said = dict(instructions())["HEALTHCHECK"]
    check = json.loads(said[said.index("CMD") + 3 :])
    assert check[0] == "python"
    folder = tmp_path / "data"
    words = [HERE, "collector", "serve", "--port", "0", "--json", "--data-dir", str(folder)]
    server = subprocess.Popen([*words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    port = json.loads(server.stdout.readline())["port"]
    script = check[2].replace(f":{Settings().port}/", f":{port}/")

    def ready() -> int:
        words = [sys.executable, "-c", script]
        return subprocess.run(words, capture_output=True, timeout=30, check=False).returncode

    try:
        assert ready() == 0
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()
    assert until(lambda: ready() != 0)


def test_the_caddyfile_is_well_formed_and_points_at_the_collector() -> None:
    text = (PACKAGING / "Caddyfile").read_text()
    lines = [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    depth, words = 0, []
    for line in lines:
        if line == "}":
            depth -= 1
        else:
            words.append((depth, line.split()[0]))
            depth += line.endswith(" {")
        assert depth >= 0
    assert depth == 0
    assert words == [
        (0, "collector.example.org"),
        (1, "request_body"),
        (2, "max_size"),
        (1, "respond"),
        (1, "reverse_proxy"),
        (2, "transport"),
        (3, "dial_timeout"),
        (3, "response_header_timeout"),
        (2, "stream_close_delay"),
    ]
    assert f"reverse_proxy 127.0.0.1:{Settings().port} {{" in lines
    assert "respond /metrics 404" in lines
