"""The options of llama-server: names and kinds.

Source: llama.cpp, tools/server/README.md and ``llama-server --help`` of build 10434, and its
common/preset.cpp for what a preset makes of them. It gains some every month: an option that is
missing here is no mistake.
"""

from collections.abc import Iterator
from typing import Final

import msgspec


class Option(msgspec.Struct, frozen=True):
    """One option.

    Attributes:
        name: The name it is written with, without dashes.
        off: The name for the contrary; empty if there is none.
        takes_value: It has a value; it is a switch otherwise.
    """

    name: str
    off: str = ""
    takes_value: bool = False


class Use(msgspec.Struct, frozen=True):
    """A name of an option; `is_off` if it means the contrary."""

    option: Option
    is_off: bool = False


# One option a line: all of its names, that of its environment variable first, the one that it is
# written with last. The name after a slash means the contrary.
_VALUES: Final = """
adaptive-decay
adaptive-target
LLAMA_ARG_ALIAS a alias
LLAMA_API_KEY api-key
LLAMA_ARG_API_KEY_FILE api-key-file
LLAMA_ARG_API_PREFIX api-prefix
LLAMA_ARG_BATCH b batch-size
LLAMA_ARG_CACHE_RAM cram cache-ram
LLAMA_ARG_CACHE_REUSE cache-reuse
LLAMA_ARG_CACHE_TYPE_K ctk cache-type-k
LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_K spec-draft-type-k ctkd cache-type-k-draft
LLAMA_ARG_CACHE_TYPE_V ctv cache-type-v
LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_V spec-draft-type-v ctvd cache-type-v-draft
LLAMA_ARG_CHAT_TEMPLATE chat-template
LLAMA_ARG_CHAT_TEMPLATE_FILE chat-template-file
LLAMA_ARG_CHAT_TEMPLATE_KWARGS chat-template-kwargs
LLAMA_ARG_CHECKPOINT_MIN_SPACING_NT cms checkpoint-min-step
control-vector
control-vector-layer-range
control-vector-scaled
LLAMA_ARG_CORS_HEADERS cors-headers
LLAMA_ARG_CORS_METHODS cors-methods
LLAMA_ARG_CORS_ORIGINS cors-origins
C cpu-mask
Cb cpu-mask-batch
spec-draft-cpu-mask-batch Cbd cpu-mask-batch-draft
spec-draft-cpu-mask Cd cpu-mask-draft
Cr cpu-range
Crb cpu-range-batch
spec-draft-cpu-range Crd cpu-range-draft
cpu-strict
cpu-strict-batch
spec-draft-cpu-strict-batch cpu-strict-batch-draft
spec-draft-cpu-strict cpu-strict-draft
LLAMA_ARG_CTX_SIZE c ctx-size
LLAMA_ARG_DEFRAG_THOLD dt defrag-thold
LLAMA_ARG_DEVICE dev device
spec-draft-device devd device-draft
LLAMA_ARG_DOCKER_REPO dr docker-repo
LLAMA_ARG_DRAFT_MAX draft draft-n draft-max
LLAMA_ARG_DRAFT_MIN draft-min draft-n-min
LLAMA_ARG_SPEC_DRAFT_P_MIN spec-draft-p-min draft-p-min
LLAMA_ARG_SPEC_DRAFT_P_SPLIT spec-draft-p-split draft-p-split
dry-allowed-length
dry-base
dry-multiplier
dry-penalty-last-n
dry-sequence-breaker
dynatemp-exp
dynatemp-range
embd-normalize
LLAMA_ARG_FIT fit fit
LLAMA_ARG_FIT_CTX fitc fit-ctx
LLAMA_ARG_FIT_TARGET fitt fit-target
LLAMA_ARG_FLASH_ATTN fa flash-attn
LLAMA_ARG_FREQUENCY_PENALTY frequency-penalty
grammar
grammar-file
LLAMA_ARG_HF_FILE hff hf-file
LLAMA_ARG_HF_FILE_V hffv hf-file-v
LLAMA_ARG_HF_REPO hf hfr hf-repo
LLAMA_ARG_SPEC_DRAFT_HF_REPO spec-draft-hf hfd hfrd hf-repo-draft
LLAMA_ARG_HF_REPO_V hfv hfrv hf-repo-v
HF_TOKEN hft hf-token
LLAMA_ARG_HOST host
LLAMA_ARG_IMAGE_MAX_TOKENS image-max-tokens
LLAMA_ARG_IMAGE_MIN_TOKENS image-min-tokens
j json-schema
jf json-schema-file
keep
LLAMA_ARG_KV_UNIFIED_PER_SLOT kv-unified-per-slot
LLAMA_ARG_LAZY_MODE lzm lazy-mode
LLAMA_ARG_LOAD_MODE lm load-mode
LLAMA_ARG_LOG_COLORS log-colors
LLAMA_ARG_LOG_FILE log-file
log-prompts-dir
LLAMA_ARG_LOG_VERBOSITY lv verbosity log-verbosity
l logit-bias
lcd lookup-cache-dynamic
lcs lookup-cache-static
lora
lora-scaled
LLAMA_ARG_MAIN_GPU mg main-gpu
LLAMA_ARG_MCP_SERVERS_CONFIG mcp-servers-config
LLAMA_ARG_MCP_SERVERS_JSON mcp-servers-json
media-path
LLAMA_ARG_MIN_P min-p
mirostat
mirostat-ent
mirostat-lr
LLAMA_ARG_MMPROJ mm mmproj
MTMD_BACKEND_DEVICE mmdev mmproj-device
LLAMA_ARG_MMPROJ_URL mmu mmproj-url
LLAMA_ARG_MODEL m model
LLAMA_ARG_SPEC_DRAFT_MODEL spec-draft-model md model-draft
LLAMA_ARG_MODEL_URL mu model-url
mv model-vocoder
LLAMA_ARG_MODELS_DIR models-dir
LLAMA_ARG_MODELS_MAX models-max
LLAMA_ARG_MODELS_PRESET models-preset
LLAMA_ARG_MOE_CACHE_MIB moe-cache-mib
LLAMA_ARG_MTMD_BATCH_MAX_TOKENS mtmd-batch-max-tokens
LLAMA_ARG_N_CPU_FFN ncffn n-cpu-ffn
LLAMA_ARG_N_CPU_MOE ncmoe n-cpu-moe
LLAMA_ARG_SPEC_DRAFT_N_CPU_MOE spec-draft-n-cpu-moe spec-draft-ncmoe ncmoed n-cpu-moe-draft
LLAMA_ARG_N_GPU_LAYERS ngl gpu-layers n-gpu-layers
LLAMA_ARG_N_GPU_LAYERS_DRAFT spec-draft-ngl ngld gpu-layers-draft n-gpu-layers-draft
LLAMA_ARG_N_PREDICT n predict n-predict
LLAMA_ARG_NUMA numa
override-kv
LLAMA_ARG_OVERRIDE_TENSOR ot override-tensor
spec-draft-override-tensor otd override-tensor-draft
LLAMA_ARG_N_PARALLEL np parallel
LLAMA_ARG_STATIC_PATH path
poll
poll-batch
spec-draft-poll-batch poll-batch-draft
spec-draft-poll poll-draft
LLAMA_ARG_POOLING pooling
LLAMA_ARG_PORT port
LLAMA_ARG_PRESENCE_PENALTY presence-penalty
prio
prio-batch
spec-draft-prio-batch prio-batch-draft
spec-draft-prio prio-draft
LLAMA_ARG_REASONING rea reasoning
LLAMA_ARG_THINK_BUDGET reasoning-budget
LLAMA_ARG_THINK_BUDGET_MESSAGE reasoning-budget-message
LLAMA_ARG_REASONING_EFFORT reasoning-effort
LLAMA_ARG_THINK reasoning-format
repeat-last-n
LLAMA_ARG_REPEAT_PENALTY repeat-penalty
r reverse-prompt
LLAMA_ARG_ROPE_FREQ_BASE rope-freq-base
LLAMA_ARG_ROPE_FREQ_SCALE rope-freq-scale
LLAMA_ARG_ROPE_SCALE rope-scale
LLAMA_ARG_ROPE_SCALING_TYPE rope-scaling
LLAMA_ARG_RPC rpc
samplers
sampler-seq sampling-seq
s seed
sleep-idle-seconds
sps slot-prompt-similarity
LLAMA_ARG_SLOT_SAVE_PATH slot-save-path
LLAMA_ARG_SPEC_DRAFT_N_MAX spec-draft-n-max
LLAMA_ARG_SPEC_DRAFT_N_MIN spec-draft-n-min
LLAMA_ARG_SPEC_DRAFT_SAMPLING spec-draft-sampling
spec-ngram-map-k-min-hits
spec-ngram-map-k-size-m
spec-ngram-map-k-size-n
spec-ngram-map-k4v-min-hits
spec-ngram-map-k4v-size-m
spec-ngram-map-k4v-size-n
spec-ngram-min-hits
spec-ngram-mod-n-match
spec-ngram-mod-n-max
spec-ngram-mod-n-min
spec-ngram-simple-min-hits
spec-ngram-simple-size-m
spec-ngram-simple-size-n
spec-ngram-size-m
spec-ngram-size-n
LLAMA_ARG_SPEC_SYNTH_LEN spec-synth-len
LLAMA_ARG_SPEC_SYNTH_RATES spec-synth-rates
LLAMA_ARG_SPEC_TYPE spec-type
LLAMA_ARG_SPLIT_MODE sm split-mode
LLAMA_ARG_SSE_PING_INTERVAL sse-ping-interval
LLAMA_ARG_SSL_CERT_FILE ssl-cert-file
LLAMA_ARG_SSL_KEY_FILE ssl-key-file
LLAMA_ARG_CTX_CHECKPOINTS ctxcp ctx-checkpoints swa-checkpoints
LLAMA_ARG_TAGS tags
LLAMA_ARG_TEMPERATURE temp temperature
LLAMA_ARG_TENSOR_SPLIT ts tensor-split
LLAMA_ARG_THREADS t threads
tb threads-batch
spec-draft-threads-batch tbd threads-batch-draft
spec-draft-threads td threads-draft
LLAMA_ARG_THREADS_HTTP threads-http
LLAMA_ARG_TIMEOUT to timeout
LLAMA_ARG_TOOLS tools
LLAMA_ARG_TOOLS_RUNTIME tools-runtime
LLAMA_ARG_TOP_K top-k
top-nsigma top-n-sigma
LLAMA_ARG_TOP_P top-p
typical typical-p
LLAMA_ARG_UBATCH ub ubatch-size
LLAMA_ARG_VIDEO_FFMPEG_DIR video-ffmpeg-dir
LLAMA_ARG_VIDEO_FPS video-fps
LLAMA_ARG_VIDEO_TIMESTAMP_INTERVAL video-timestamp-interval
LLAMA_ARG_UI_CONFIG ui-config webui-config
LLAMA_ARG_UI_CONFIG_FILE ui-config-file webui-config-file
xtc-probability
xtc-threshold
LLAMA_ARG_YARN_ATTN_FACTOR yarn-attn-factor
LLAMA_ARG_YARN_BETA_FAST yarn-beta-fast
LLAMA_ARG_YARN_BETA_SLOW yarn-beta-slow
LLAMA_ARG_YARN_EXT_FACTOR yarn-ext-factor
LLAMA_ARG_YARN_ORIG_CTX yarn-orig-ctx
"""

_SWITCHES: Final = """
LLAMA_ARG_AGENT ag agent / no-ag no-agent
LLAMA_ARG_BACKEND_SAMPLING bs backend-sampling
LLAMA_ARG_CACHE_IDLE_SLOTS cache-idle-slots / no-cache-idle-slots
cl cache-list
LLAMA_ARG_CACHE_PROMPT cache-prompt / no-cache-prompt
check-tensors
completion-bash
LLAMA_ARG_CONT_BATCHING cb cont-batching / nocb no-cont-batching
LLAMA_ARG_CONTEXT_SHIFT context-shift / no-context-shift
LLAMA_ARG_CORS_CREDENTIALS cors-credentials / no-cors-credentials
LLAMA_ARG_CPU_MOE cmoe cpu-moe
LLAMA_ARG_SPEC_DRAFT_CPU_MOE spec-draft-cpu-moe cmoed cpu-moe-draft
LLAMA_ARG_DIO dio direct-io / ndio no-direct-io
embd-gemma-default
LLAMA_ARG_EMBEDDINGS embedding embeddings
e escape / no-escape
fim-qwen-1.5b-default
fim-qwen-14b-spec
fim-qwen-30b-default
fim-qwen-3b-default
fim-qwen-7b-default
fim-qwen-7b-spec
gpt-oss-120b-default
gpt-oss-20b-default
ignore-eos
LLAMA_ARG_JINJA jinja / no-jinja
LLAMA_ARG_KV_OFFLOAD kvo kv-offload / nkvo no-kv-offload
LLAMA_ARG_KV_UNIFIED kvu kv-unified / no-kvu no-kv-unified
list-devices
log-disable
LLAMA_ARG_LOG_JSONL log-jsonl / no-log-jsonl
LLAMA_ARG_LOG_PREFIX log-prefix / no-log-prefix
LLAMA_ARG_LOG_TIMESTAMPS log-timestamps / no-log-timestamps
v verbose log-verbose
lora-init-without-apply
LLAMA_ARG_ENDPOINT_METRICS metrics
LLAMA_ARG_MLOCK mlock
LLAMA_ARG_MMAP mmap / no-mmap
LLAMA_ARG_MMPROJ_AUTO mmproj-auto / no-mmproj no-mmproj-auto
LLAMA_ARG_MMPROJ_OFFLOAD mmproj-offload / no-mmproj-offload
LLAMA_ARG_MODELS_AUTOLOAD models-autoload / no-models-autoload
LLAMA_ARG_NO_HOST no-host
LLAMA_ARG_OFFLINE offline
op-offload / no-op-offload
LLAMA_ARG_PERF perf / no-perf
LLAMA_ARG_PREFILL_ASSISTANT prefill-assistant / no-prefill-assistant
LLAMA_ARG_ENDPOINT_PROPS props
LLAMA_ARG_REASONING_PRESERVE reasoning-preserve / no-reasoning-preserve
LLAMA_ARG_REPACK repack / nr no-repack
LLAMA_ARG_RERANKING rerank reranking
LLAMA_ARG_REUSE_PORT reuse-port
LLAMA_ARG_SKIP_CHAT_PARSING skip-chat-parsing / no-skip-chat-parsing
LLAMA_ARG_ENDPOINT_SLOTS slots / no-slots
spec-default
LLAMA_ARG_SPEC_DRAFT_BACKEND_SAMPLING spec-draft-backend-sampling / no-spec-draft-backend-sampling
sp special
spm-infill
LLAMA_ARG_SWA_FULL swa-full
tts-use-guide-tokens
h help usage
version
vision-gemma-12b-default
vision-gemma-4b-default
warmup / no-warmup
LLAMA_ARG_UI ui webui / no-ui no-webui
LLAMA_ARG_UI_MCP_PROXY ui-mcp-proxy webui-mcp-proxy / no-ui-mcp-proxy no-webui-mcp-proxy
"""


def _uses() -> Iterator[tuple[str, Use]]:
    for text, takes_value in ((_VALUES, True), (_SWITCHES, False)):
        for line in text.strip().splitlines():
            on, off = (part.split() for part in f"{line} /".split("/")[:2])
            option = Option(on[-1], off[-1] if off else "", takes_value)
            yield from ((name, Use(option)) for name in on)
            yield from ((name, Use(option, is_off=True)) for name in off)


# By every name, without dashes.
OPTIONS: Final = dict(_uses())
