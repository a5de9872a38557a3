"""The guard itself: a test that leaves this machine fails."""

from __future__ import annotations

import socket
import urllib.request

import pytest


def test_connecting_outside_is_refused():
    with socket.socket() as plug, pytest.raises(RuntimeError, match="tried to connect"):
        plug.connect(("192.0.2.1", 80))


def test_looking_up_a_host_is_refused():
    with pytest.raises(RuntimeError, match="tried to look up"):
        urllib.request.urlopen("http://example.invalid/")
