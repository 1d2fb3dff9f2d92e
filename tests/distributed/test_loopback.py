"""The filter that keeps other machines from a port, on real sockets of this one."""

import socket

import pytest

from frcnn.distributed import loopback


def own_address():
    """Return an address of this machine in a network; skip the test where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine is in no network")
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine is in no network")
    return address


def opened(family=socket.AF_INET6, port=0):
    """Return a server as gRPC opens it: on all interfaces, of both versions of the protocol."""
    server = socket.socket(family)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    server.listen()
    return server


def answers(host, port):
    try:
        socket.create_connection((host, port), timeout=0.5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_only_this_machine_reaches_a_shielded_server(family):
    address = own_address()
    with opened(family) as server:
        port = server.getsockname()[1]
        assert answers(address, port)
        loopback.restrict_to_loopback(server)
        assert not answers(address, port)
        assert answers("127.0.0.1", port)
        assert answers("::1", port) == (family == socket.AF_INET6)


def test_a_server_is_found_while_it_is_opened():
    port = opened().getsockname()[1]
    with loopback.LoopbackOnly(port) as shield:
        server = opened(port=port)
        connected = socket.create_connection(("127.0.0.1", port))
        accepted = server.accept()[0]
    assert shield.is_active
    connected.sendall(b"a")
    assert accepted.recv(1) == b"a"


def test_a_connection_from_elsewhere_that_came_before_is_closed():
    address = own_address()
    with opened() as server:
        port = server.getsockname()[1]
        stranger = socket.create_connection((address, port))
        accepted = server.accept()[0]
        with loopback.LoopbackOnly(port) as shield:
            pass
    assert shield.is_active
    assert stranger.recv(1) == b"" and accepted.recv(1) == b""


def test_where_no_server_is_found_it_says_so():
    with loopback.LoopbackOnly(1) as shield:
        pass
    assert not shield.is_active


def test_where_the_system_has_no_such_filter_it_says_so(monkeypatch):
    def refuse(_):
        raise OSError("not here")

    monkeypatch.setattr(loopback, "restrict_to_loopback", refuse)
    with opened() as server, loopback.LoopbackOnly(server.getsockname()[1]) as shield:
        pass
    assert not shield.is_active
