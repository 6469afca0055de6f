"""The metrics, as they are declared: what is shown, documented and drawn is made from these."""

from typing import Final, Literal, TypeAlias

import msgspec

MetricKind: TypeAlias = Literal["counter", "gauge", "histogram", "summary"]

# Bounds of histograms, in seconds. A second divides what one notices; loads take minutes.
_WAITS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0)
_FIRST_TOKENS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
_LENGTHS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1200.0)
_LOADS: Final = (0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 300.0)


class MetricDeclaration(msgspec.Struct, frozen=True):
    """One metric.

    Attributes:
        name: As it is shown; a counter's ends with ``_total``.
        kind: What it is. A summary is a sum and a count.
        labels: Names of its labels.
        help: What it tells.
        bounds: Of a histogram: the upper bounds of its buckets, but for the last, in its unit.
    """

    name: str
    kind: MetricKind
    labels: tuple[str, ...]
    help: str
    bounds: tuple[float, ...] = ()


_MODEL: Final = ("model",)

# --- models --------------------------------------------------------------------------------------

MODEL_STATE: Final = MetricDeclaration(
    "arriero_model_state",
    "gauge",
    ("model", "state"),
    "1 for the state that the model's process is in, 0 for the others.",
)
MODEL_IN_FLIGHT: Final = MetricDeclaration(
    "arriero_model_in_flight_requests",
    "gauge",
    _MODEL,
    "Requests that run on the model.",
)
MODEL_QUEUED: Final = MetricDeclaration(
    "arriero_model_queued_requests",
    "gauge",
    _MODEL,
    "Requests that wait for the model.",
)
MODEL_LOADS: Final = MetricDeclaration(
    "arriero_model_loads_total",
    "counter",
    ("model", "result"),
    "Starts of the model's server that became ready, failed, or were given up; wakings count as "
    "woken.",
)
MODEL_LOAD_SECONDS: Final = MetricDeclaration(
    "arriero_model_load_seconds",
    "histogram",
    _MODEL,
    "Time from the start of the model's server until it was ready.",
    _LOADS,
)
MODEL_STAGE_SECONDS: Final = MetricDeclaration(
    "arriero_model_load_stage_seconds",
    "summary",
    ("model", "stage"),
    "Time of each stage on the model's way to ready: until others had drained and stopped, then "
    "its own.",
)
MODEL_EVICTIONS: Final = MetricDeclaration(
    "arriero_model_evictions_total",
    "counter",
    ("model", "reason"),
    "Times that the model was stopped or put to sleep, though it served.",
)
MODEL_EXITS: Final = MetricDeclaration(
    "arriero_model_exits_total",
    "counter",
    ("model", "code"),
    "Ends of the model's processes by exit code, or the signal that ended it.",
)
MODEL_RESERVED: Final = MetricDeclaration(
    "arriero_model_reserved_bytes",
    "gauge",
    ("model", "device"),
    "Memory that is reserved for the model, where memory decides.",
)

# --- requests ------------------------------------------------------------------------------------

REQUESTS: Final = MetricDeclaration(
    "arriero_requests_total",
    "counter",
    ("model", "api", "status", "outcome"),
    "Requests that have ended. Without a model: those that named none, or an unknown one.",
)
REQUEST_SECONDS: Final = MetricDeclaration(
    "arriero_request_duration_seconds",
    "histogram",
    _MODEL,
    "Time from the arrival of a request to its end.",
    _LENGTHS,
)
QUEUE_SECONDS: Final = MetricDeclaration(
    "arriero_request_queue_seconds",
    "histogram",
    _MODEL,
    "Time that a request waited for its turn.",
    _WAITS,
)
WAITED_SECONDS: Final = MetricDeclaration(
    "arriero_request_load_seconds",
    "histogram",
    _MODEL,
    "Time that a request waited for its model to load.",
    _WAITS,
)
FIRST_TOKEN_SECONDS: Final = MetricDeclaration(
    "arriero_request_time_to_first_token_seconds",
    "histogram",
    _MODEL,
    "Time from the arrival of a request to the first token of the response.",
    _FIRST_TOKENS,
)
TOKENS: Final = MetricDeclaration(
    "arriero_tokens_total",
    "counter",
    ("model", "kind"),
    "Tokens by kind: input (all of the prompt) and output (all that was generated); cached, "
    "reasoning and draft are parts of these.",
)
PROMPT_TOKENS: Final = MetricDeclaration(
    "arriero_prefill_tokens_total",
    "counter",
    _MODEL,
    "Tokens of prompts that were read, without cached ones, where the time is known.",
)
PROMPT_SECONDS: Final = MetricDeclaration(
    "arriero_prefill_seconds_total",
    "counter",
    _MODEL,
    "Time in which these were read; the rates of both give the speed.",
)
OUTPUT_TOKENS: Final = MetricDeclaration(
    "arriero_decode_tokens_total",
    "counter",
    _MODEL,
    "Tokens that were generated, where the time is known.",
)
OUTPUT_SECONDS: Final = MetricDeclaration(
    "arriero_decode_seconds_total",
    "counter",
    _MODEL,
    "Time in which these were generated; the rates of both give the speed.",
)
COST: Final = MetricDeclaration(
    "arriero_cost_dollars_total",
    "counter",
    _MODEL,
    "Cost of requests, where prices are known.",
)

# --- the program ---------------------------------------------------------------------------------

BUILD_INFO: Final = MetricDeclaration(
    "arriero_build_info", "gauge", ("version",), "1, with the version of this program."
)
UPTIME: Final = MetricDeclaration(
    "arriero_start_time_seconds", "gauge", (), "Unix time at which the supervisor began."
)
WORKERS: Final = MetricDeclaration(
    "arriero_workers", "gauge", ("state",), "Worker processes by state."
)
WORKER_RESTARTS: Final = MetricDeclaration(
    "arriero_worker_restarts_total", "counter", (), "Workers that died and were replaced."
)
LEASE_REQUESTS: Final = MetricDeclaration(
    "arriero_lease_requests_total", "counter", (), "Times that a worker had to ask for a model."
)
PEER_UP: Final = MetricDeclaration(
    "arriero_peer_up", "gauge", ("peer",), "Whether a watched peer answers (1) or not (0)."
)
PEER_CIRCUIT: Final = MetricDeclaration(
    "arriero_peer_circuit",
    "gauge",
    ("peer", "state"),
    "1 for where the circuit of a peer stands: closed, open or half-open.",
)
PEER_MODELS: Final = MetricDeclaration(
    "arriero_peer_models", "gauge", ("peer",), "Models of a peer, as far as they are known."
)
PEER_LISTED: Final = MetricDeclaration(
    "arriero_peer_list_timestamp_seconds",
    "gauge",
    ("peer",),
    "When the last list of a watched peer came, as Unix time.",
)
PEER_FAILURES: Final = MetricDeclaration(
    "arriero_peer_failures_total", "counter", ("peer",), "Requests that a peer did not answer."
)
TRACED_REQUESTS: Final = MetricDeclaration(
    "arriero_traced_requests_total",
    "counter",
    ("result",),
    "Requests whose spans have reached a collector, or were lost.",
)
CONFIG_GENERATION: Final = MetricDeclaration(
    "arriero_config_generation", "gauge", (), "Number of the configuration that is in force."
)
CONFIG_LOADED: Final = MetricDeclaration(
    "arriero_config_last_reload_success_timestamp_seconds",
    "gauge",
    (),
    "Unix time at which it came into force.",
)
CONFIG_OK: Final = MetricDeclaration(
    "arriero_config_last_reload_successful",
    "gauge",
    (),
    "1 if the last attempt to reload has not failed.",
)

# --- memory --------------------------------------------------------------------------------------

DEVICE_TOTAL: Final = MetricDeclaration(
    "arriero_device_memory_bytes", "gauge", ("device",), "Memory of a device that limits models."
)
DEVICE_RESERVED: Final = MetricDeclaration(
    "arriero_device_reserved_bytes", "gauge", ("device",), "What models have of it."
)
DEVICE_FOREIGN: Final = MetricDeclaration(
    "arriero_device_foreign_bytes", "gauge", ("device",), "What others use of it."
)
DEVICE_FREE: Final = MetricDeclaration(
    "arriero_device_free_bytes", "gauge", ("device",), "What is left of it for models now."
)
DEVICE_HELD: Final = MetricDeclaration(
    "arriero_device_held", "gauge", ("device",), "1 while it is kept free of models on request."
)

# --- model servers' own --------------------------------------------------------------------------

SCRAPE_OK: Final = MetricDeclaration(
    "arriero_model_scrape_success",
    "gauge",
    _MODEL,
    "1 if the model's server has told its own metrics, which stand below.",
)

OWN: Final[tuple[MetricDeclaration, ...]] = tuple(
    it for it in tuple(globals().values()) if isinstance(it, MetricDeclaration)
)
"""Those of this program."""

# --- the machine, in llama-swap's names ----------------------------------------------------------

CPU: Final = MetricDeclaration(
    "llamaswap_cpu_util_percent", "gauge", ("core",), "Use of each core in percent."
)
MEMORY_TOTAL: Final = MetricDeclaration("llamaswap_memory_total_bytes", "gauge", (), "Main memory.")
MEMORY_USED: Final = MetricDeclaration(
    "llamaswap_memory_used_bytes", "gauge", (), "Main memory in use."
)
MEMORY_FREE: Final = MetricDeclaration(
    "llamaswap_memory_free_bytes", "gauge", (), "Main memory that can be had."
)
SWAP_TOTAL: Final = MetricDeclaration("llamaswap_swap_total_bytes", "gauge", (), "Swap space.")
SWAP_USED: Final = MetricDeclaration("llamaswap_swap_used_bytes", "gauge", (), "Swap space in use.")
LOAD_AVERAGE: Final = MetricDeclaration(
    "llamaswap_load_average",
    "gauge",
    ("interval",),
    "Tasks that ran or waited to, over 1, 5 and 15 minutes.",
)
NETWORK: Final = MetricDeclaration(
    "llamaswap_network_bytes_total",
    "counter",
    ("interface", "direction"),
    "Bytes over a network interface.",
)

_GPU: Final = ("id", "name", "uuid")
GPU_TEMPERATURE: Final = MetricDeclaration(
    "llamaswap_gpu_temperature_celsius", "gauge", _GPU, "Temperature of the GPU."
)
GPU_VRAM_TEMPERATURE: Final = MetricDeclaration(
    "llamaswap_gpu_vram_temperature_celsius", "gauge", _GPU, "Temperature of its memory."
)
GPU_USE: Final = MetricDeclaration(
    "llamaswap_gpu_util_percent", "gauge", _GPU, "Percent of the time in which it computed."
)
GPU_MEMORY_USE: Final = MetricDeclaration(
    "llamaswap_gpu_memory_util_percent", "gauge", _GPU, "Percent of its memory that is used."
)
GPU_MEMORY_USED: Final = MetricDeclaration(
    "llamaswap_gpu_memory_used_bytes", "gauge", _GPU, "Memory of it that is used."
)
GPU_MEMORY_TOTAL: Final = MetricDeclaration(
    "llamaswap_gpu_memory_total_bytes", "gauge", _GPU, "Memory of it."
)
GPU_FAN: Final = MetricDeclaration(
    "llamaswap_gpu_fan_speed_percent", "gauge", _GPU, "Percent of its fan's fastest."
)
GPU_POWER: Final = MetricDeclaration(
    "llamaswap_gpu_power_draw_watts", "gauge", _GPU, "Power that it draws."
)

ALL: Final[tuple[MetricDeclaration, ...]] = tuple(
    it for it in tuple(globals().values()) if isinstance(it, MetricDeclaration)
)
"""All of them."""

PREFIXES: Final = ("arriero_", "llamaswap_")
"""With one of these each of our names begins, and none of a model server's own."""
