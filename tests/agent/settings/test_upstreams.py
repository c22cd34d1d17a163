"""Several upstreams of an app in the settings file: read, refused with a remedy, cut to one."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.settings import load
from agent.settings.upstream_writing import keep_only
from tracking.errors import SettingsFault

TWO = """\
# what we report
[[apps]]
id = "acme"  # the editor
speaks = ["nucleus"]

  # as it always was
  [[apps.upstreams]]
  kind = "nucleus"
  name = "vendor"

  # ours
  [[apps.upstreams]]
  kind = "homing"
  name = "mine"
  endpoint = "https://homing.example"  # behind the proxy
  data_api = "https://homing.example"

[[apps]]
id = "other"
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "homing.toml"


def app(toml: Path, text: str, *lines: str) -> str:
    """Return what is wrong with an app of these lines and these upstreams."""
    head = "".join(f"{line}\n" for line in lines)
    toml.write_text(f'[[apps]]\nid = "acme"\n{head}{text}')
    with pytest.raises(SettingsFault) as caught:
        load(toml, {})
    return str(caught.value)


def upstream(kind: str, *lines: str) -> str:
    return "\n".join(("[[apps.upstreams]]", f'kind = "{kind}"', *lines)) + "\n"


def test_an_app_with_two_upstreams(toml: Path) -> None:
    toml.write_text(TWO)
    acme = load(toml, {}).apps[0]
    assert [(one.name, one.kind) for one in acme.upstreams] == [
        ("vendor", "nucleus"),
        ("mine", "homing"),
    ]
    assert acme.upstreams[1].endpoint == "wss://homing.example"
    assert [way.name for way in acme.ways] == ["vendor", "mine"]


def test_a_collector_of_an_app_that_speaks_both_is_two_ways(toml: Path) -> None:
    toml.write_text('[[apps]]\nid = "acme"\n' + upstream("homing", 'endpoint = "ws://127.0.0.1:1"'))
    acme = load(toml, {}).apps[0]
    assert acme.speaks == ("nucleus", "bucket")
    assert [(way.name, way.endpoint) for way in acme.ways] == [
        ("homing", "ws://127.0.0.1:1"),
        ("homing.bucket", "http://127.0.0.1:1"),
    ]


@pytest.mark.parametrize(
    ("kind", "endpoint"),
    [("bucket", "https://tracking.bucket.co"), ("bucket-bulk", "https://front.bucket.co")],
)
def test_a_bucket_upstream_goes_to_the_vendor_if_it_names_no_place(
    toml: Path, kind: str, endpoint: str
) -> None:
    toml.write_text(f'[[apps]]\nid = "acme"\nspeaks = ["nucleus"]\n{upstream(kind)}')
    (way,) = load(toml, {}).apps[0].ways
    assert (way.name, way.language, way.endpoint) == (kind, "bucket", endpoint)


def test_what_an_upstream_cannot_be_told_is_refused_with_the_line_that_agrees(toml: Path) -> None:
    said = app(toml, upstream("nucleus", 'name = "vendor"'), 'speaks = ["nucleus", "bucket"]')
    line = (
        'leave_out = ["company", "feedback", "channel-status-event", "feature-flag-event",'
        ' "prompt-event"]'
    )
    assert 'upstreams[1]: the app "acme" may say company, feedback, ' in said
    assert 'the upstream "vendor" (nucleus) cannot be told' in said
    assert f"write {line} there" in said
    assert said.endswith('or speaks = ["nucleus"] for the app')
    toml.write_text(
        f'[[apps]]\nid = "acme"\nspeaks = ["nucleus", "bucket"]\n{upstream("nucleus", line)}'
    )
    assert "company" in load(toml, {}).apps[0].ways[0].leave_out


def test_the_early_bucket_form_is_not_told_what_only_its_successor_knows(toml: Path) -> None:
    said = app(toml, upstream("bucket"))
    assert "may say channel-status-event, feature-flag-event, prompt-event, which" in said
    assert "company" not in said


def test_part_of_an_agreement_is_kept_in_the_line_that_is_proposed(toml: Path) -> None:
    said = app(
        toml,
        upstream("nucleus", 'leave_out = ["company", "init"]'),
        'speaks = ["nucleus", "bucket"]',
    )
    assert 'leave_out = ["company", "init", "feedback",' in said


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("speaks = []", "speaks: must name a language"),
        ('speaks = "bucket"', "speaks: must be a list of words"),
        ('speaks = ["buckets"]', "did you mean bucket?"),
        ('speaks = ["bucket"]', "an app without an upstream is kept on this computer"),
    ],
)
def test_impossible_languages_are_refused(toml: Path, line: str, sentence: str) -> None:
    assert sentence in app(toml, "", line)


def test_more_upstreams_than_anyone_needs_are_refused(toml: Path) -> None:
    many = "".join(upstream("nucleus", f'name = "u{n}"') for n in range(9))
    assert "at most 8 upstreams, got 9" in app(toml, many)


def test_one_upstream_is_left_and_every_comment_that_is_not_the_others(toml: Path) -> None:
    toml.write_text(TWO)
    assert keep_only(toml, "acme", "mine") == ["vendor"]
    acme = load(toml, {}).apps[0]
    assert [one.name for one in acme.upstreams] == ["mine"]
    text = toml.read_text()
    assert "# what we report\n" in text
    assert '[[apps]]\nid = "acme"  # the editor\n' in text
    assert "as it always was" not in text
    assert '# ours\n  [[apps.upstreams]]\n  kind = "homing"\n' in text
    assert '"https://homing.example"  # behind the proxy\n' in text
    assert [one.id for one in load(toml, {}).apps] == ["acme", "other"]


def test_the_first_upstream_can_be_left_too(toml: Path) -> None:
    toml.write_text(TWO)
    assert keep_only(toml, "acme", "vendor") == ["mine"]
    assert [one.name for one in load(toml, {}).apps[0].upstreams] == ["vendor"]
    assert "# as it always was\n  [[apps.upstreams]]\n" in toml.read_text()
    assert "ours" not in toml.read_text()


def test_brackets_in_a_text_are_no_tables(toml: Path) -> None:
    strange = 'id = "other"\nname = "[[apps.upstreams]]"\n'
    toml.write_text(TWO.replace('id = "other"\n', strange))
    keep_only(toml, "acme", "mine")
    assert load(toml, {}).app("other").name == "[[apps.upstreams]]"  # type: ignore[union-attr]


def test_upstreams_written_in_one_line_are_reduced_as_well(toml: Path) -> None:
    toml.write_text(
        '[[apps]]\nid = "acme"\nspeaks = ["nucleus"]\n'
        'upstreams = [\n  { kind = "nucleus" },  # old\n'
        '  { kind = "bucket-bulk" },\n]\n'
    )
    assert keep_only(toml, "acme", "bucket-bulk") == ["nucleus"]
    assert [one.name for one in load(toml, {}).apps[0].upstreams] == ["bucket-bulk"]


@pytest.mark.parametrize(
    ("app_id", "name", "sentence"),
    [
        ("stranger", "mine", "no app has the id 'stranger'"),
        ("acme", "min", "has no upstream 'min', did you mean mine?"),
        ("other", "mine", "has no upstream 'mine'"),
    ],
)
def test_a_switch_to_nothing_changes_nothing(
    toml: Path, app_id: str, name: str, sentence: str
) -> None:
    toml.write_text(TWO)
    with pytest.raises(SettingsFault, match=sentence):
        keep_only(toml, app_id, name)
    assert toml.read_text() == TWO


def test_the_only_upstream_is_not_switched_to(toml: Path) -> None:
    toml.write_text(TWO)
    keep_only(toml, "acme", "mine")
    with pytest.raises(SettingsFault, match="is the only upstream of acme already"):
        keep_only(toml, "acme", "mine")
