from pathlib import Path

import pytest

from arriero.supervisor.llamacpp.load_report import (
    is_llama_server_itself,
    llama_server_in_place,
    wants_report,
)


@pytest.mark.parametrize(
    "command",
    [
        "llama-server -m x",
        "/opt/llama.cpp/bin/llama-server --port 1",
        "llama-server-cuda",
        "env A=b llama-server",
        "env -u HOME -i PATH=/bin llama-server",
        "nice -n 5 ionice -c 2 -n 0 llama-server",
        "taskset -c 0-3,8 llama-server",
        "taskset 0xff llama-server",
        "numactl --cpunodebind=0 -m 0 -- llama-server",
        "stdbuf -oL llama-server",
        "nohup llama-server",
    ],
)
def test_what_takes_its_place_holds_our_pipe(command: str) -> None:
    assert (llama_server_in_place(command.split()) or "").startswith(("llama-server", "/opt/"))


@pytest.mark.parametrize(
    "command",
    [
        "",
        "./start.sh",
        "bash start.sh llama-server",
        "env bash start.sh llama-server",
        "env -i ./start.sh llama-server",
        "env -i sh llama-server",
        "nice ./start.sh llama-server",
        "sudo llama-server",
        "sudo -u llama llama-server",
        "docker run ghcr.io/ggml-org/llama.cpp:server",
        "docker exec it llama-server",
        "python server.py",
        "timeout 60 llama-server",
        "my-llama-server",
    ],
)
def test_of_anything_else_that_is_not_sure(command: str) -> None:
    assert llama_server_in_place(command.split()) is None


def test_a_script_of_that_name_may_do_anything(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_bytes(b"#!/bin/sh\n")
    program.chmod(0o700)
    assert not is_llama_server_itself([str(program)], {})
    assert not is_llama_server_itself(["llama-server"], {"PATH": str(tmp_path)})
    program.write_bytes(b"\x7fELF\x02")
    assert is_llama_server_itself([str(program)], {})
    assert is_llama_server_itself(["llama-server"], {"PATH": str(tmp_path)})
    program.unlink()
    assert not is_llama_server_itself([str(program)], {})


@pytest.mark.parametrize("is_itself", [True, False])
def test_env_is_stronger(is_itself: bool) -> None:
    assert wants_report({}, is_itself=is_itself) is is_itself
    assert wants_report({"LLAMA_SERVER_ROUTER_PORT": "1"}, is_itself=is_itself)
    assert not wants_report({"LLAMA_SERVER_ROUTER_PORT": ""}, is_itself=is_itself)
