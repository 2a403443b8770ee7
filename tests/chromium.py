"""Chromium for the tests that look at pages: found on this machine, and kept away from every network."""

import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_where_there_is_one = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium on this machine; on Debian and Ubuntu: apt-get install chromium"
)


def in_browser(test):
    """A test that looks at pages, where a browser is found."""
    return pytest.mark.slow(_where_there_is_one(test))


OFFLINE = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
