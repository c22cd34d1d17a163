"""Settings are merged by key, remember where they came from, and are wrong all at once or not."""

from __future__ import annotations

import json
import os
import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.settings import NUCLEUS, Upstream, load, specs
from agent.settings.reading import check_text, read_file
from tracking.errors import SettingsFault

NOTES = """
[[apps]]
id = "acme-notes"
name = "Acme Notes"
version = "2.1.0"
  [[apps.upstreams]]
  kind = "nucleus"
  endpoint = "ws://127.0.0.1:7780/"
  data_api = "http://127.0.0.1:7780"
  token_file = "~/token"
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "homing.toml"


def complaints(toml: Path, text: str, env: dict[str, str] | None = None, **flags: object) -> str:
    """Return everything that is said against ``text``."""
    toml.write_text(text, "utf-8")
    with pytest.raises(SettingsFault) as caught:
        load(toml, env or {}, flags)
    return str(caught.value)


def test_without_a_file_everything_is_default(toml: Path) -> None:
    settings = load(toml, {})
    assert settings.outbox.max_events == 1_000_000
    assert settings.link.heartbeat_s == 60.0
    assert settings.apps == ()
    assert settings.file == toml
    assert {settings.origin(spec.key) for spec in specs()} == {"default"}


def test_flags_win_over_variables_over_the_file_over_defaults_key_by_key(toml: Path) -> None:
    toml.write_text("[outbox]\nmax_events = 2000\nmax_mib = 5\nmax_age_days = 6\n")
    env = {"HOMING_OUTBOX_MAX_MIB": "7", "HOMING_OUTBOX_MAX_AGE_DAYS": "8", "PATH": "/bin"}
    settings = load(toml, env, {"outbox.max_age_days": 9})
    assert (settings.outbox.max_events, settings.origin("outbox.max_events")) == (2000, str(toml))
    assert (settings.outbox.max_mib, settings.origin("outbox.max_mib")) == (
        7,
        "HOMING_OUTBOX_MAX_MIB",
    )
    assert (settings.outbox.max_age_days, settings.origin("outbox.max_age_days")) == (
        9,
        "command line",
    )


def test_every_setting_can_be_set_in_all_three_ways(toml: Path) -> None:
    for spec in specs():
        words = spec.meta.get("words") or spec.meta.get("examples")
        value = words[-1] if words else "/a" if spec.meta.get("path") else spec.meta["high"]
        table, name = spec.key.split(".")
        shown = f'"{value}"' if isinstance(value, str) else value
        toml.write_text(f"[{table}]\n{name} = {shown}\n")
        for settings in (
            load(toml, {}),
            load(toml.with_name("none"), {spec.variable: str(value)}),
            load(toml.with_name("none"), {}, {spec.key: str(value)}),
        ):
            assert getattr(getattr(settings, table), name) == value
            assert settings.origin(spec.key) != "default"


def test_settings_cannot_be_changed_after_loading(toml: Path) -> None:
    settings = load(toml, {})
    with pytest.raises(FrozenInstanceError):
        settings.outbox.max_mib = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.origins["outbox.max_mib"] = "me"  # type: ignore[index]


def test_all_mistakes_are_named_at_once_each_with_its_place_and_its_bounds(toml: Path) -> None:
    said = complaints(
        toml,
        '[outbox]\nmax_events = 5\nmax_mb = 3\n[link]\nheartbeat_s = "60"\n[[apps]]\nid = "a b"\n',
        {"HOMING_WIRE_MAX_ENTRIES": "many", "HOMING_HEARTBEAT_S": "5"},
        **{"log.level": "loud"},
    ).splitlines()
    assert said == [
        f"{toml}: outbox.max_events: must be a whole number from 1,000 to 100,000,000, got 5",
        f"{toml}: no setting is named 'outbox.max_mb', did you mean outbox.max_mib?",
        f"{toml}: link.heartbeat_s: must be a number from 1 to 3,600, got '60'",
        f"{toml}: apps[1].id: must be 1 to 64 letters, digits, - or _, got 'a b'",
        "HOMING_WIRE_MAX_ENTRIES: must be a whole number from 0 to 10,000,000, got 'many'",
        "environment: no setting is named 'HOMING_HEARTBEAT_S',"
        " did you mean HOMING_LINK_HEARTBEAT_S?",
        "command line: log.level: must be one of debug, info, warning, error",
    ]


@pytest.mark.parametrize(
    "value", ["true", '"30"', "30.0", "1e3", "[30]", "{}", "1979-05-27", "-1", "366", "nan"]
)
def test_nothing_is_quietly_turned_into_a_whole_number(toml: Path, value: str) -> None:
    assert "outbox.max_age_days: must be a whole number from 1 to 365" in complaints(
        toml, f"[outbox]\nmax_age_days = {value}\n"
    )


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "true", '"60.0"', "0.999", "3600.1"])
def test_a_number_of_seconds_is_finite_and_within_its_bounds(toml: Path, value: str) -> None:
    assert "link.heartbeat_s: must be a number" in complaints(
        toml, f"[link]\nheartbeat_s = {value}\n"
    )


def test_a_whole_number_of_seconds_is_a_number_of_seconds(toml: Path) -> None:
    toml.write_text("[link]\nheartbeat_s = 30\n")
    assert load(toml, {}).link.heartbeat_s == 30.0
    assert load(toml, {"HOMING_LINK_HEARTBEAT_S": "2.5"}).link.heartbeat_s == 2.5


@pytest.mark.parametrize("text", ["", " 5000", "5_000", "0x10", "5000.0", "٥٠٠٠", "5000\n"])
def test_a_variable_is_read_as_a_number_only_if_it_is_written_as_one(toml: Path, text: str) -> None:
    with pytest.raises(SettingsFault, match="HOMING_OUTBOX_MAX_EVENTS: must be a whole number"):
        load(toml, {"HOMING_OUTBOX_MAX_EVENTS": text})


def test_a_place_and_the_senders_app_are_no_settings(toml: Path) -> None:
    said = load(toml, {"HOMING_HOME": "/x", "HOMING_APP": "notes", "HOMINGPIGEON": "1"})
    assert said.describe() == load(toml, {}).describe()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("heartbeat_s = 5", "did you mean link.heartbeat_s?"),
        ("[outbocks]\nmax_mib = 5", "did you mean outbox?"),
        ("[link]\nheartbeats = 5", "did you mean link.heartbeat_s?"),
        ("[link]\nmax_events = 5", "did you mean outbox.max_events?"),
        ('[[app]]\nid = "a"', "did you mean apps?"),
        ("[[apps]]\nid = 'a'\nnmae = 'A'", "did you mean name?"),
    ],
)
def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(
    toml: Path, text: str, hint: str
) -> None:
    assert hint in complaints(toml, text)


@pytest.mark.parametrize("text", ["outbox = 5", "outbox = []", "apps = 5", "apps = {}", "[apps]"])
def test_a_table_that_is_none_is_refused(toml: Path, text: str) -> None:
    assert "must be a" in complaints(toml, text)


def test_an_app_of_the_settings_file_with_its_upstream(toml: Path) -> None:
    toml.write_text(NOTES)
    (app,) = load(toml, {}).apps
    assert (app.id, app.name, app.version) == ("acme-notes", "Acme Notes", "2.1.0")
    assert app.upstreams == (
        Upstream(
            kind="nucleus",
            endpoint="ws://127.0.0.1:7780",
            data_api="http://127.0.0.1:7780",
            token_file=str(Path.home() / "token"),
        ),
    )
    assert load(toml, {}).app("acme-notes") == app
    assert load(toml, {}).app("other") is None


def test_an_app_needs_only_an_id_and_an_upstream_only_a_kind(toml: Path) -> None:
    toml.write_text('[[apps]]\nid = "a"\n[[apps]]\nid = "b"\n[[apps.upstreams]]\nkind = "nucleus"')
    one, other = load(toml, {}).apps
    assert (one.name, one.version, one.upstreams) == ("a", "", ())
    assert other.upstreams[0].endpoint == NUCLEUS


@pytest.mark.parametrize(
    ("app", "sentence"),
    [
        ('id = "a"\n[[apps]]\nid = "a"', "apps[2]: the id 'a' is used twice"),
        ('name = "A"', "apps[1]: needs an id"),
        ("id = 5", "apps[1].id: must be text, got 5"),
        ('id = ""', "apps[1].id: must be 1 to 64 letters"),
        ('id = "../../etc"', "apps[1].id: must be 1 to 64 letters"),
        ('id = "a\\n"', "apps[1].id: must be one line"),
        (f'id = "{"a" * 65}"', "apps[1].id: must be 1 to 64 letters"),
        ('id = "a"\nname = "\\u001b[2J"', "apps[1].name: must be one line"),
        (f'id = "a"\nname = "{"a" * 129}"', "apps[1].name: must be one line of at most 128"),
        ('id = "a"\nupstreams = 5', "apps[1].upstreams: must be a list of tables"),
        ('id = "a"\nupstreams = [5]', "apps[1].upstreams: must be a list of tables"),
    ],
)
def test_an_impossible_app_is_refused(toml: Path, app: str, sentence: str) -> None:
    assert sentence in complaints(toml, f"[[apps]]\n{app}\n")


@pytest.mark.parametrize(
    ("upstream", "sentence"),
    [
        ('kind = "carrier pigeon"', '.kind: must be one of "nucleus", "homing", '),
        ('kind = "carrier pigeon"', "got 'carrier pigeon'"),
        ('kind = "bucket_bulk"', "did you mean bucket-bulk?"),
        ("kind = [1]", '"bucket-bulk", got [1]'),
        ("", '.kind: must be one of "nucleus"'),
        ('kind = "nucleus"\nendpoint = "ws://example.org"', ".endpoint: "),
        ('kind = "nucleus"\nendpoint = "wss://u:secret@example.org"', ".endpoint: "),
        ('kind = "nucleus"\nendpoint = 5', ".endpoint: must be text, got 5"),
        ('kind = "nucleus"\ndata_api = "http://10.0.0.1"', ".data_api: "),
        ('kind = "nucleus"\ntoken = "dat1_secret"', "did you mean token_file?"),
        ('kind = "nucleus"\ndata_api = "https://a.b"\ntoken_file = "dat1_secret"', "absolute path"),
        ('kind = "nucleus"\ntoken_file = "/t"', "is for a Data API, but data_api is not set"),
        (
            'kind = "nucleus"\n[[apps.upstreams]]\nkind = "nucleus"',
            'upstreams[2].name: two upstreams are named "nucleus"',
        ),
        ('kind = "homing"', "a collector needs its endpoint"),
        ('kind = "homing"\nendpoint = "http://example.org"', ".endpoint: "),
        ('kind = "bucket"\nendpoint = "wss://example.org"', ".endpoint: "),
        ('kind = "nucleus"\nname = "a.bucket"', ".name: must be 1 to 32 letters"),
        ('kind = "nucleus"\nname = ""', ".name: must be 1 to 32 letters"),
        ('kind = "bucket"\nkey_file = "trk_secret"', ".key_file: must be an absolute path"),
        ('kind = "nucleus"\nkey_file = "/k"', "is for a Bucket key"),
        ('kind = "nucleus"\nleave_out = "init"', ".leave_out: must be a list of words"),
        ('kind = "nucleus"\nleave_out = ["inti"]', "did you mean init?"),
    ],
)
def test_an_impossible_upstream_is_refused_and_no_secret_is_repeated(
    toml: Path, upstream: str, sentence: str
) -> None:
    said = complaints(toml, f'[[apps]]\nid = "a"\n[[apps.upstreams]]\n{upstream}\n')
    assert "apps[1].upstreams" in said
    assert sentence in said
    assert "secret" not in said


def test_a_key_that_was_pasted_where_its_file_belongs_is_not_repeated(toml: Path) -> None:
    said = complaints(toml, f'[identity]\norganisation_key = "{"ab" * 32}"\n')
    assert "identity.organisation_key: must be an absolute path, or empty" in said
    assert "abab" not in said


def test_a_path_in_ones_home_is_spelled_out_and_no_path_depends_on_where_we_run(
    toml: Path,
) -> None:
    toml.write_text('[link]\nca_file = "~/ca.pem"\n')
    assert load(toml, {}).link.ca_file == str(Path.home() / "ca.pem")
    for elsewhere in ("ca.pem", "./ca.pem", "../ca.pem", "~root/ca.pem", "~"):
        assert "must be an absolute path" in complaints(toml, f'[link]\nca_file = "{elsewhere}"\n')


def test_a_file_that_is_no_toml_is_named_with_the_line(toml: Path) -> None:
    said = complaints(toml, "[outbox]\nmax_events = = 5\n")
    assert said.startswith(str(toml))
    assert "line 2" in said


def test_a_file_that_is_not_text_is_refused(toml: Path) -> None:
    toml.write_bytes(b"[outbox]\n# \xff\n")
    with pytest.raises(SettingsFault, match="not UTF-8 at byte 11"):
        load(toml, {})


def test_a_folder_a_pipe_and_a_huge_file_are_no_settings(toml: Path) -> None:
    toml.mkdir()
    with pytest.raises(SettingsFault, match="is not a file"):
        load(toml, {})
    toml.rmdir()
    os.mkfifo(toml)
    with pytest.raises(SettingsFault, match="is not a file"):
        load(toml, {})
    toml.unlink()
    toml.write_text("#" * 2**21)
    with pytest.raises(SettingsFault, match="bytes, a settings file is smaller"):
        load(toml, {})


def test_a_file_that_everybody_may_change_is_refused(toml: Path) -> None:
    toml.write_text("")
    toml.chmod(0o666)
    with pytest.raises(SettingsFault, match="can be changed by others"):
        load(toml, {})


def test_somebody_elses_file_is_refused(toml: Path) -> None:
    toml.write_text("[outbox]\nmax_mib = 5\n")
    uid = os.getuid()
    assert read_file(toml, uid=uid)
    if uid == 0:
        os.chown(toml, 65534, 65534)
    else:
        uid += 1  # we cannot give it away, so we are the other one
    with pytest.raises(SettingsFault, match="can be changed by others"):
        read_file(toml, uid=uid)


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{1,64}"))
def test_whatever_an_app_is_called_its_id_can_be_part_of_a_files_name(name: str) -> None:
    text = f"[[apps]]\nid = {json.dumps(name)}\n"
    try:
        (app,) = check_text(text, Path("homing.toml")).apps
    except SettingsFault:
        return
    assert (Path("/data") / f"x-{app.id}").parent == Path("/data")
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", app.id)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([s.key for s in specs()]) | st.text(), json_like))
def test_whatever_the_flags_say_the_answer_is_settings_or_a_fault(flags: dict[str, object]) -> None:
    try:
        settings = load(Path("/nonexistent"), {}, flags)
    except SettingsFault:
        return
    for spec in specs():
        table, name = spec.key.split(".")
        value = getattr(getattr(settings, table), name)
        assert type(value) is type(spec.default)
        if "low" in spec.meta:
            assert spec.meta["low"] <= value <= spec.meta["high"]


@given(st.text(max_size=200))
def test_whatever_the_file_says_the_answer_is_settings_or_a_fault(text: str) -> None:
    try:
        check_text(text, Path("homing.toml"))
        said = "homing.toml is fine"
    except SettingsFault as fault:
        said = str(fault)
    assert said.startswith("homing.toml")
