from arriero.protocol.worker_config import Timeouts
from arriero.supervisor.config.load import load_config
from arriero.supervisor.config.model_config import Capabilities, Filters, ModelConfig
from arriero.supervisor.config.names import PeerConfig, Profile, Selector
from arriero.supervisor.config.routing import Routing
from arriero.supervisor.config.values import ActivityConfig, Logging
from arriero.supervisor.placement.policy import Group
from tests.paths import ROOT

EVERYTHING = ROOT / "tests" / "supervisor" / "config" / "files" / "everything.yaml"


def test_a_large_file_is_read_to_the_last_key() -> None:
    config = load_config(EVERYTHING, environ={"KEY": "sk-two"})
    assert list(config.models) == ["org/chat:30b", "small", "embed", "comfyui_auto"]
    chat, small, embed, comfy = config.models.values()
    assert chat == ModelConfig(
        model="org/chat:30b",
        command=(
            "/opt/llama-server", "--port", "${PORT}", "-m", "/models/org/chat:30b.gguf",
            "-c", "32768", "--flag", "two words",
        ),
        stop_command=("docker", "stop", "org/chat:30b"),
        proxy="http://localhost:${PORT}/base",
        aliases=("chat", "gpt-4", "chat:think"),
        name="Chat",
        description="The big one",
        unlisted=True,
        env=(("CUDA_VISIBLE_DEVICES", "0,1"),),
        check_endpoint="/ready",
        ttl_s=0,
        send_as="chat-30b",
        health_check_timeout_s=300,
        unload_timeout_s=60,
        progress="off",
        strict="off",
        concurrency_limit=4,
        metadata={"context": 32768, "at": 9001, "tags": ("a", {"b": 1.5})},
        capabilities=Capabilities(
            takes=("text", "image"), gives=("text",), tools=True, context=32768
        ),
        filters=Filters(
            strip_params=("temperature", "top_p"),
            set_params={"max_tokens": 100},
            set_params_by_id={"chat:think": {"chat_template_kwargs.enable_thinking": True}},
        ),
        timeouts=Timeouts(connect_s=30, response_header_s=120, idle_connection_s=0),
    )  # fmt: skip
    assert small.command == ("/opt/llama-server", "--port", "${PORT}", "-m", "/models/small.gguf")
    assert (small.env, small.timeouts.connect_s) == ((("CUDA_VISIBLE_DEVICES", "0"),), 5)
    assert (small.ttl_s, small.unload_timeout_s, small.progress) == (600, 20, "reasoning")
    assert (embed.proxy, embed.check_endpoint, embed.port) == ("http://127.0.0.1:8900", None, None)
    assert embed.capabilities == Capabilities(reranker=True)
    assert (comfy.concurrency_limit, comfy.ignore_websockets) == (50, True)
    assert [found.port for found in (comfy, chat, small)] == [9000, 9001, 9002]


def test_all_but_the_models_of_a_large_file_is_read() -> None:
    config = load_config(EVERYTHING, environ={"KEY": "sk-two"})
    assert config.routing == Routing(
        groups=(
            Group("talk", ("org/chat:30b", "small")),
            Group("side", ("embed",), swap=False, exclusive=False, persistent=True),
        ),
        priority={"small": 5, "org/chat:30b": -1},
    )
    assert config.peers == {
        "far": PeerConfig(
            peer="far",
            url="https://far.example/api",
            written_models=("huge", "small"),
            api_key="sk-two",
            filters=Filters(strip_params=("user",), set_params={"n": 1}),
            timeouts=Timeouts(connect_s=3, response_header_s=60),
        )
    }
    assert config.selectors == {
        "any": Selector(
            selector="any",
            strategy="warm",
            targets=("small", "chat"),
            name="Any",
            metadata={"x": 1},
        )
    }
    assert config.profiles == {
        "cheap": Profile(
            profile="cheap",
            description="Nothing big",
            pins={"chat": "small", "huge": "any", "embed": None},
        )
    }
    assert config.logging == Logging(
        level="debug", time_format="rfc3339", to_stdout="both", requests=True
    )
    assert config.activity == ActivityConfig(
        metrics_rows=50,
        capture_mb=20,
        session_headers=("X-Mine", "X-Yours"),
        sampling=False,
        sampling_s=90,
    )
    assert (config.start_port, config.aliases_in_list) == (9000, True)
    assert (config.api_keys, config.preload) == (("sk-one", "sk-two"), ("small", "embed"))
    assert config.ignore_paths == (r"\.svg$",)
    assert config.warnings == ()
