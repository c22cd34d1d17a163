"""The exact line by which each official SDK is pointed at the gateway.

Sources: NUCLEUS.md §1 (endpoints and how each client makes its address of them), BUCKET.md §1
(base addresses, path forms, what is needed besides). tests/agent/gateway makes each client's own
request from its line, and tests/compat runs those that npm has.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

#: The server SDKs refuse a secret key of 22 characters or fewer (BUCKET.md §1). This one opens
#: nothing: the token in the address does.
ANY_SECRET = "no-secret-is-needed-here"  # noqa: S105 - none of anybody


class SdkLine(NamedTuple):
    """A line to copy.

    Attributes:
        sdk: The client's own name, as its package registry has it.
        line: What to write in the app.
        language: What it reports in.

    """

    sdk: str
    line: str
    language: Literal["nucleus", "bucket"]


def sdk_lines(app_id: str, port: int, token: str) -> tuple[SdkLine, ...]:
    """Return the line of each SDK, for an app with this token."""
    bare = f"127.0.0.1:{port}/t/{token}"
    ws, http = f"ws://{bare}", f"http://{bare}"
    init = f'init("{app_id}", {{ endpoint: "{ws}" }})'
    server = f'secretKey: "{ANY_SECRET}", apiBaseUrl: "{http}"'
    return (
        SdkLine("nucleus-nodejs", f"Nucleus.{init}", "nucleus"),
        SdkLine("nucleus-analytics", f"Nucleus.{init}", "nucleus"),
        SdkLine("astrolytics", f"astrolytics.{init}", "nucleus"),
        SdkLine(
            "electron-nucleus",  # takes a host without a scheme; devMode makes it ws://
            f"require('electron-nucleus')('{app_id}', {{ endpoint: '{bare}', devMode: true }})",
            "nucleus",
        ),
        SdkLine("nucleus-python", f'nucleus.api_url = "{ws}"', "nucleus"),
        SdkLine("NucleusSwift", f'Nucleus.shared.apiUrl = "{ws}"', "nucleus"),
        SdkLine("@bucketco/node-sdk", f"new BucketClient({{ {server} }})", "bucket"),
        SdkLine(
            "@bucketco/node-sdk, from the environment",
            f"BUCKET_API_BASE_URL={http} BUCKET_SECRET_KEY={ANY_SECRET}",
            "bucket",
        ),
        SdkLine(
            "@bucketco/tracking-sdk", f'bucket.init("{app_id}", {{ host: "{http}" }})', "bucket"
        ),
        SdkLine(
            "@bucketco/browser-sdk",
            f'new BucketClient({{ publishableKey: "{app_id}", apiBaseUrl: "{http}", '
            f'sseBaseUrl: "{http}" }})',
            "bucket",
        ),
        SdkLine(
            "@reflag/node-sdk",  # without the last two it shows its key to front.reflag.com
            f'new ReflagClient({{ {server}, flagsPushUrl: "{http}/sse/server", '
            f'flagsSyncMode: "polling" }})',
            "bucket",
        ),
        SdkLine(
            "@reflag/browser-sdk",
            f'new ReflagClient({{ publishableKey: "{app_id}", apiBaseUrl: "{http}" }})',
            "bucket",
        ),
        SdkLine(
            "Bucket.Sdk (.NET)",  # a relative address drops what has no slash behind it
            f'new Configuration {{ SecretKey = "{ANY_SECRET}", ApiBaseUri = new Uri("{http}/") }}',
            "bucket",
        ),
        SdkLine(
            "anything that can post",
            f'curl -H \'Content-Type: application/json\' -d \'{{"data":[{{"name":"hello"}}]}}\' '
            f"{http}/app/{app_id}/track",
            "nucleus",
        ),
    )
