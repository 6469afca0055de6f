import pytest

from arriero.supervisor.llamacpp.command import ServerOptions, server_options


def options(command: str, **env: str) -> ServerOptions:
    found = server_options(command.split(), env)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "command",
    [
        "llama-server",
        "/opt/llama.cpp/build/bin/llama-server",
        "llama-server-cuda12",
        "llama-server-b6123-vulkan",
        "env A=b llama-server",
        "taskset -c 0-7 nice -n 5 /opt/llama-server",
    ],
)
def test_llama_server_is_known_by_its_name(command: str) -> None:
    assert options(f"{command} --port 9").port.value == "9"


@pytest.mark.parametrize(
    "command",
    [
        "docker run image llama-server",
        "ssh host llama-server",
        "sh -c llama-server",
        "python3 -m llama_cpp.server",
        "llama-server-wrapper",
        "my-llama-server.sh",
        "vllm serve",
        "llama-cli",
        "env",
    ],
)
def test_of_any_other_program_nothing_is_known(command: str) -> None:
    assert server_options(f"{command} --port 9 -m /m.gguf".split(), {}) is None


@pytest.mark.parametrize(
    ("arguments", "env", "value", "is_contradiction"),
    [
        ("", {}, None, False),
        ("--port 9", {}, "9", False),
        ("--port 9 --port 8", {}, "8", False),
        ("--port", {}, "", False),
        ("", {"LLAMA_ARG_PORT": "7"}, "7", False),
        ("--port 9", {"LLAMA_ARG_PORT": "9"}, "9", False),
        ("--port 9", {"LLAMA_ARG_PORT": "7"}, "9", True),
        ("--host 9", {}, None, False),
        ("--alias --port 9", {}, "9", False),
    ],
)
def test_the_command_counts_more_than_the_environment(
    arguments: str, env: dict[str, str], value: str | None, is_contradiction: bool
) -> None:
    port = options(f"llama-server {arguments}", **env).port

    assert (port.value, port.is_contradiction) == (value, is_contradiction)


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        ("", ""),
        ("-m /m.gguf", "/m.gguf"),
        ("-md /d --mmproj /p -m /m", "/m /p /d"),
        ("-m /m --lora /a,/b:1 --lora /c", "/m /a /b:1 /c"),
        ("--lora-scaled /a:0.5,/b:-1e", "/a /b:-1e"),
        ("--control_vector /a:1 --control-vector-scaled /b:1", "/a:1 /b"),
        ("-m /m-00001-of-00002.gguf", "/m-00001-of-00002.gguf /m-00002-of-00002.gguf"),
        ("-m /m --chat-template-file /t --log-file /l", "/m"),
    ],
)
def test_the_files_that_it_loads_are_known(arguments: str, files: str) -> None:
    assert [str(path) for path in options(f"llama-server {arguments}").files] == files.split()


def test_a_model_in_the_environment_is_a_file_too() -> None:
    assert [str(path) for path in options("llama-server", LLAMA_ARG_MODEL="/m").files] == ["/m"]


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        ("-hf user/model", {}),
        ("--hf-repo user/model", {}),
        ("-mu https://host/m", {}),
        ("--model-url https://host/m", {}),
        ("-mmu https://host/p", {}),
        ("-dr model", {}),
        ("", {"LLAMA_ARG_HF_REPO": "user/model"}),
        ("", {"LLAMA_ARG_MODEL_URL": "https://host/m"}),
    ],
)
def test_files_that_may_be_fetched_need_not_be_there(arguments: str, env: dict[str, str]) -> None:
    assert options(f"llama-server -m /m.gguf {arguments}", **env).files == ()
