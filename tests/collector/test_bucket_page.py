"""Every line of docs/bucket.md is run against a real server, and answers as it says."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path

from bucket_ends import BucketApp, BucketEnd

from tracking import bucket
from tracking.bucket_endpoints import RESERVED

PAGE = (Path(__file__).parents[2] / "docs" / "bucket.md").read_text("utf-8")


def test_every_line_of_the_page_answers_what_it_says(tmp_path: Path) -> None:
    (script,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    said = re.findall(r"^#> (.*)$", script, re.MULTILINE)
    far_end = BucketEnd(tmp_path)
    with contextlib.ExitStack() as ends:
        ends.callback(far_end.stop)
        app = BucketApp(far_end)
        base = f"http://127.0.0.1:{far_end.port}"
        done = subprocess.run(
            ["bash", "-ec", script],
            env=os.environ | {"BASE": base, "K": app.key, "S": app.secret},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == said
        assert len(said) == script.count("\npost /")
        assert set(app.held.users) == {"1234567890", "u"}
        assert [event.company_id for event in app.held.events] == ["acme"]


def test_the_page_names_every_method_and_the_codes_of_tracking() -> None:
    for method in RESERVED & {"user", "company", "event", "feedback", "bulk"}:
        assert f"/{method} " in PAGE
    for code in (bucket.BODY_VALIDATION_FAILED, bucket.INVALID_API_KEY, bucket.UNKNOWN_ERROR):
        assert code in PAGE
