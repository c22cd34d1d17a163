"""Nothing that opens a door is ever kept: every form in which one travels (threat row 16)."""

from __future__ import annotations

import pytest

from agent.rules.masking import MASK, Masks, masked

CANARY = b"cAnArY-0123456789abcdef"
FORMS = [
    b"GET / HTTP/1.1\r\nAuthorization: %s\r\nHost: x\r\n",
    b"GET / HTTP/1.1\r\nauthorization: Bearer %s\r\nHost: x\r\n",
    b"CONNECT x:443 HTTP/1.1\r\nProxy-Authorization: Basic %s\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=%s; Path=/\r\n\r\n",
    b"GET /t/%s/app/acme/track HTTP/1.1\r\n",
    b'{"endpoint":"http://127.0.0.1:4317/t/%s/"}',
    b"POST /%s/event HTTP/1.1\r\n",
    b"POST /%s/user",
    b"https://tracking.bucket.co/%s/company",
    b"GET /features/enabled?publishableKey=%s&x=1 HTTP/1.1",
    b"GET /x?a=1&token=%s HTTP/1.1",
    b"GET /x?access_token=%s HTTP/1.1",
    b'{"token":"%s","name":"x"}',
    b'{"publishableKey": "%s"}',
    b'{"headers":{"Authorization":"Bearer %s"}}',
    b'{"text":"{\\"authorization\\":\\"%s\\"}"}',
    b"said: bearer %s, and more",
    b"AUTHORIZATION: BEARER %s",
]


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_masked_by_its_form(form: bytes) -> None:
    said = masked(form % CANARY)
    assert CANARY not in said
    assert MASK in said


@pytest.mark.parametrize("form", FORMS[:3])
def test_what_stands_around_a_secret_stays(form: bytes) -> None:
    before, after = form.split(b"%s")
    said = masked(form % CANARY)
    assert said.startswith(before)
    assert said.endswith(after[-4:])


@pytest.mark.parametrize(
    "said",
    [
        b'{"data":[{"type":"event","name":"token_refreshed","id":"x","payload":{"n":1}}]}',
        b'{"data":[{"type":"event","name":"t","payload":{"path":"/t/one","bearer":1}}]}',
        b'{"reportedIds":["a","b"]}',
        b"POST /bulk HTTP/1.1\r\nHost: front.bucket.co\r\n",
        b"POST /api/v1/apps/acme/users/42 HTTP/1.1",
        b"",
        bytes(range(256)),
    ],
)
def test_what_is_no_secret_stays_byte_for_byte(said: bytes) -> None:
    assert masked(said) == said


def test_a_secret_that_is_known_is_masked_in_any_form() -> None:
    masks = Masks()
    masks.add(CANARY.decode())
    masks.add(CANARY + b"-longer")
    masks.add("short")
    assert masks.apply(b"x" + CANARY + b"-longer y " + CANARY) == b"x*** y ***"
    assert masks.apply(b"a short word") == b"a short word"
