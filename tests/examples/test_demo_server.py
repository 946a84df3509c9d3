import http.client
import socket
import time

import pytest

from examples.demo.server import Answer, DemoServer, address

ANSWERS = {
    ("one.test", "/"): Answer(b"front of one"),
    ("two.test", "/"): Answer(b"front of two"),
    ("one.test", "/t?id=7&view=full"): Answer(b"thread seven"),
    ("one.test", "/image"): Answer(b"\x89PNG", content_type="image/png"),
    ("one.test", "/old"): Answer(status=301, content_type=None, location="http://two.test/"),
    ("one.test", "/error"): Answer(b"oops", status=500),
    ("slow.test", "/a"): Answer(b"slow", delay_s=0.2),
    ("slow.test", "/b"): Answer(b"fast"),
}


@pytest.fixture(scope="module")
def server():
    with DemoServer(ANSWERS) as running:
        yield running


def get(server, host, target, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request(method, target, headers={"Host": host})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def raw(server, data):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(data)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
        return received


@pytest.mark.parametrize(
    ("host", "target", "status", "body"),
    [
        ("one.test", "/", 200, b"front of one"),
        ("two.test", "/", 200, b"front of two"),
        ("WWW.Two.Test:80", "/", 200, b"front of two"),
        ("one.test", "/?utm_source=x&fbclid=1", 200, b"front of one"),
        ("one.test", "/t?view=full&id=7", 200, b"thread seven"),
        ("one.test", "/t?id=7&amp;view=full", 404, None),
        ("three.test", "/", 404, None),
        ("one.test", "/error", 500, b"oops"),
    ],
)
def test_answers_by_host_and_address(server, host, target, status, body):
    response, found = get(server, host, target)
    assert response.status == status
    assert body is None or found == body
    assert int(response.headers["Content-Length"]) == len(found)


def test_headers(server):
    response, _ = get(server, "one.test", "/")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Date"].endswith("GMT")
    assert get(server, "one.test", "/image")[0].headers["Content-Type"] == "image/png"
    moved, _ = get(server, "one.test", "/old")
    assert (moved.status, moved.headers["Location"]) == (301, "http://two.test/")
    assert moved.headers["Content-Type"] is None


def test_head_has_the_length_and_no_body(server):
    response, body = get(server, "one.test", "/", "HEAD")
    assert response.headers["Content-Length"] == "12"
    assert body == b""
    request = b"HEAD / HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n"
    assert raw(server, request).endswith(b"\r\n\r\n")


def test_keep_alive_serves_many_requests_on_one_connection(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.connect()
    used = connection.sock
    for host in ("one.test", "two.test") * 3:
        connection.request("GET", "/", headers={"Host": host})
        assert connection.getresponse().read() == b"front of " + host[:3].encode()
        assert connection.sock is used
    connection.close()


def test_pipelined_answers_keep_their_order_when_one_is_slow(server):
    started = time.monotonic()
    data = raw(
        server,
        b"GET /a HTTP/1.1\r\nHost: slow.test\r\n\r\nGET /b HTTP/1.1\r\nHost: slow.test\r\nConnection: close\r\n\r\n",
    )
    assert time.monotonic() - started >= 0.19
    assert data.index(b"\r\n\r\nslow") < data.index(b"\r\n\r\nfast")
    assert b"Connection: close" in data


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: one.test\r\n\r\n", b"501"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000, b"431"),
        (b"GET / HTTP/1.0\r\nHost: one.test\r\n\r\n", b"200"),
    ],
)
def test_odd_requests_are_answered_and_the_connection_ends(server, request_bytes, status):
    assert raw(server, request_bytes).startswith(b"HTTP/1.1 " + status)


def test_every_request_is_logged():
    with DemoServer(ANSWERS) as server:
        get(server, "one.test", "/")
        get(server, "one.test", "/nothing")
        assert [(entry.host, entry.target, entry.status) for entry in server.log] == [
            ("one.test", "/", 200),
            ("one.test", "/nothing", 404),
        ]
        assert server.log[0].time_s <= server.log[1].time_s


def test_a_taken_port_is_an_error_and_a_stopped_server_is_gone():
    with DemoServer(ANSWERS) as server:
        port = server.port
        with pytest.raises(OSError, match="in use"), DemoServer(ANSWERS, port):
            pass
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()


def test_address_is_blind_to_tracking_only():
    assert address("www.a.test", "/p?b=2&utm_medium=x&a=1") == ("a.test", "/p?a=1&b=2")
    assert address("a.test", "/p?page=1") != address("a.test", "/p?page=2")
    assert address("a.test", "/p?gclid=1") == ("a.test", "/p")
