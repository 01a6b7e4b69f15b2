"""A server of the pet photos, for the tests of their download and of their archives."""

import pytest

from pets_server import Server


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.over.set()
    server.http.shutdown()
    server.http.server_close()
    server.thread.join()
