from __future__ import annotations

import pytest

from pazzo import OptionsError
from pazzo.flow import Endpoint
from pazzo.url import Config, parse


@pytest.mark.parametrize(
    ("url", "config"),
    [
        ("redis://localhost", Config("single", (Endpoint("localhost", 6379),))),
        (
            "redis://u%40:p%2F%23@h:7/3?prefix=x:&timeout=500ms",
            Config(
                "single", (Endpoint("h", 7),), username="u@", password="p/#", db=3, prefix="x:",
                timeout=0.5,
            ),
        ),
        ("redis://:p@h", Config("single", (Endpoint("h", 6379),), password="p")),
        ("rediss://[::1]:7?ca=/c.pem", Config("single", (Endpoint("::1", 7),), True, ca="/c.pem")),
        (
            "redis+sentinel://a,b:7/main/2?sentinel_user=s&sentinel_password=t",
            Config(
                "sentinel", (Endpoint("a", 26379), Endpoint("b", 7)), db=2, primary="main",
                sentinel_user="s", sentinel_password="t",
            ),
        ),
        (
            "rediss+cluster://a:1,b:2?timeout=2s",
            Config("cluster", (Endpoint("a", 1), Endpoint("b", 2)), True, timeout=2.0),
        ),
        ("pazzo://h:7", Config("single", (Endpoint("h", 7),))),
        ("unix:///run/p.sock?db=4", Config("single", (Endpoint("/run/p.sock", 0),), db=4)),
        ("unix://u:p@/run/p.sock", Config(
            "single", (Endpoint("/run/p.sock", 0),), username="u", password="p",
        )),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_good(url: str, config: Config) -> None:
    assert tuple(parse(url)) == tuple(config)


@pytest.mark.parametrize(
    "url",
    [
        "", "localhost", "http://h", "memory:", "redis://", "redis://h:0", "redis://h:99999",
        "redis://h:x", "redis://a,b", "redis://h/x", "redis://h/1/2", "redis://h?db=1",
        "redis://h?prefix=x", "redis://h?prefix={x}:", "redis://h?timeout=5", "redis://h?timeout=0s",
        "redis://h?ca=x", "redis://h?prefix=a:&prefix=b:", "redis://h?prefix=", "redis://h#x",
        "redis://u:geheim#@h", "redis://u:geheim@h/x", "redis+sentinel://a", "redis+cluster://a/1",
        "unix://h/x", "unix://", "redis://u:geheim@h o",
    ],
)  # fmt: skip
def test_bad(url: str) -> None:
    with pytest.raises(OptionsError) as caught:
        parse(url)
    assert "geheim" not in str(caught.value)


def test_a_config_hides_its_password() -> None:
    assert "geheim" not in repr(parse("redis://u:geheim@h"))
