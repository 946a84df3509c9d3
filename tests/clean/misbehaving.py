"""A program for the sandbox that does to its process what its request names."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable


def program(argument: str) -> Callable[[bytes], bytes]:
    served = 0

    def answer(request: bytes) -> bytes:
        nonlocal served
        served += 1
        name, _, rest = request.decode().partition(" ")
        if name == "spin":
            while True:
                pass
        if name == "sleep":
            time.sleep(60)
        if name == "burn":
            until = time.process_time() + float(rest)
            while time.process_time() < until:
                pass
        if name == "hog":
            return bytes(int(rest) << 20)[:1]
        if name == "abort":
            os.abort()
        if name == "exit":
            os._exit(int(rest))
        if name == "segfault":
            ctypes.string_at(0)
        if name == "raise":
            raise ValueError(rest)
        if name == "recurse":
            return answer(request)
        if name == "print":
            print("noise on stdout")
        if name == "abort-if-not-first" and served > 1:
            os.abort()
        if name == "served":
            return str(served).encode()
        return argument.encode() + request

    return answer
