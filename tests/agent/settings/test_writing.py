"""The settings file: made with comments, edited without losing a person's own."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from agent.settings import default_text, load, set_value, specs, write_default
from tracking.errors import SettingsFault, StorageFault

MINE = """\
# my own file, mind the order
[link]   # slow network here
heartbeat_s = 120  # twice the usual

[[apps]]
id = "acme-notes"   # the id from the dashboard
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "homing.toml"


def test_the_first_file_shows_every_setting_and_changes_none(toml: Path) -> None:
    assert write_default(toml)
    assert stat.S_IMODE(toml.stat().st_mode) == 0o600
    settings = load(toml, {})
    assert not settings.origins
    flat = re.sub(r"\n# ", " ", toml.read_text())
    for spec in specs():
        assert f"{spec.doc} ({spec.bounds})" in flat


def test_the_first_file_with_its_comments_taken_away_says_the_defaults(toml: Path) -> None:
    scalars = default_text().partition("# [[apps]]")[0]
    toml.write_text(re.sub(r"(?m)^# ([a-z_]+ = )", r"\1", scalars))
    settings, defaults = load(toml, {}), load(toml.with_name("none"), {})
    assert {settings.origin(spec.key) for spec in specs()} == {str(toml)}
    for table in ("outbox", "ipc", "link", "limits", "identity", "far_end", "log", "wire"):
        assert getattr(settings, table) == getattr(defaults, table)


def test_the_example_app_of_the_first_file_is_a_possible_one(toml: Path) -> None:
    example = default_text().split("# [[apps]]")[1]
    toml.write_text("[[apps]]" + re.sub(r"(?m)^# ", "", example))
    assert load(toml, {}).apps[0].upstreams[0].data_api == "https://app.nucleus.sh"


def test_a_file_that_is_there_is_never_written_over(toml: Path) -> None:
    toml.write_text(MINE)
    assert not write_default(toml)
    assert toml.read_text() == MINE


def test_a_value_lands_beneath_the_line_that_explains_it(toml: Path) -> None:
    write_default(toml)
    before = toml.read_text()
    assert set_value(toml, "outbox.max_mib", "512").outbox.max_mib == 512
    assert toml.read_text() == before.replace(
        "# max_mib = 256\n", "# max_mib = 256\nmax_mib = 512\n"
    )
    assert set_value(toml, "outbox.max_mib", "64").outbox.max_mib == 64
    assert toml.read_text() == before.replace(
        "# max_mib = 256\n", "# max_mib = 256\nmax_mib = 64\n"
    )


def test_every_setting_can_be_set_in_the_first_file_one_after_the_other(toml: Path) -> None:
    for spec in specs():
        words = spec.meta.get("words") or spec.meta.get("examples")
        value = words[-1] if words else "/a b/ö😀" if spec.meta.get("path") else spec.meta["high"]
        table, name = spec.key.split(".")
        assert getattr(getattr(set_value(toml, spec.key, str(value)), table), name) == value
    assert set(load(toml, {}).origins) == {spec.key for spec in specs()}


def test_a_persons_comments_and_order_survive(toml: Path) -> None:
    toml.write_text(MINE)
    set_value(toml, "link.heartbeat_s", "30")
    set_value(toml, "link.ack_timeout_s", "20.5")
    settings = set_value(toml, "log.level", "debug")
    assert (settings.link.heartbeat_s, settings.link.ack_timeout_s) == (30.0, 20.5)
    assert settings.log.level == "debug"
    assert settings.apps[0].id == "acme-notes"
    after = toml.read_text()
    for comment in re.findall("#.*", MINE):
        assert comment in after
    assert after.index("[link]") < after.index("[[apps]]")


def test_an_impossible_value_is_refused_and_the_file_stays_as_it_was(toml: Path) -> None:
    toml.write_text(MINE)
    for key, text in (
        ("link.heartbeat_s", "0"),
        ("link.heartbeat_s", "soon"),
        ("log.level", "loud"),
        ("link.ca_file", "certificates.pem"),
        ("link.ca_file", "/a\nb"),
        ("link.heartbeat", "60"),
        ("apps", "x"),
    ):
        with pytest.raises(SettingsFault):
            set_value(toml, key, text)
    assert toml.read_text() == MINE
    assert [p.name for p in toml.parent.iterdir()] == ["homing.toml"]


def test_a_file_that_was_wrong_before_is_not_touched(toml: Path) -> None:
    toml.write_text("[outbox]\nmax_mib = 1\n")
    with pytest.raises(SettingsFault, match="max_mib"):
        set_value(toml, "outbox.max_events", "5000")
    assert toml.read_text() == "[outbox]\nmax_mib = 1\n"
    set_value(toml, "outbox.max_mib", "5")  # the very mistake can be corrected
    assert load(toml, {}).outbox.max_mib == 5


def test_a_link_to_a_file_kept_elsewhere_stays_a_link_and_the_file_keeps_its_mode(
    toml: Path, tmp_path: Path
) -> None:
    dotfile = tmp_path / "dotfiles" / "homing.toml"
    dotfile.parent.mkdir()
    dotfile.write_text(MINE)
    dotfile.chmod(0o640)
    toml.symlink_to(dotfile)
    set_value(toml, "link.heartbeat_s", "30")
    assert toml.is_symlink()
    assert "heartbeat_s = 30" in dotfile.read_text()
    assert stat.S_IMODE(dotfile.stat().st_mode) == 0o640


def test_a_folder_that_cannot_be_made_is_a_storage_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFault):
        write_default(tmp_path / "file" / "homing.toml")


def test_describing_names_every_setting_and_every_app(toml: Path) -> None:
    toml.write_text(MINE + '[[apps.upstreams]]\nkind = "nucleus"\n')
    rows = {row.key: row for row in load(toml, {}).describe()}
    assert rows["link.heartbeat_s"][1:3] == (120.0, str(toml))
    assert rows["link.heartbeat_s"].bounds == "a number from 1 to 3,600"
    assert rows["outbox.max_mib"][1:3] == (256, "default")
    assert rows["apps.acme-notes.upstreams.nucleus.endpoint"].value == "wss://app.nucleus.sh"
    assert all(row.doc.endswith(".") for row in rows.values())
