"""Hypothesis strategies for whole configurations, as what a file holds."""

from typing import Any

from hypothesis import strategies as st

from arriero.supervisor.text.command_line import join_command

# What can be handed to a program.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
# What can be asked for. Few characters, so that names meet; some that mean something to somebody.
NAMES = st.text("ab1-./: é${}#'\"", min_size=1, max_size=5).filter(str.strip)
PRINTABLE = st.text("!#$%&'()*+-/:?@[\\]^_`{|}~ab1", min_size=1, max_size=8)
BOOLEANS = st.booleans()
SECONDS = st.integers(0, 10**6)
DURATIONS = st.sampled_from(
    [0, "1s", "1.5s", "250ms", "1m1ms", "1h", "1.234567891ms", ".3s", "1us"]
)
DATA = st.recursive(
    st.none() | BOOLEANS | st.integers(-(10**63), 10**63) | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda data: st.lists(data, max_size=3) | st.dictionaries(TEXTS, data, max_size=3),
    max_leaves=6,
)  # fmt: skip
OBJECTS = st.dictionaries(TEXTS, DATA, max_size=3)


def some(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with some of `members`."""
    return st.fixed_dictionaries({}, optional=members)


def escaped(value: Any) -> Any:
    """Return `value` so that no macros are in it."""
    match value:
        case str():
            return value.replace("${", "$${")
        case list():
            return [escaped(item) for item in value]
        case dict():
            return {name: escaped(member) for name, member in value.items()}
        case _:
            return value


STRIP = st.lists(TEXTS, max_size=3).map(",".join)
TIMEOUTS = some(
    connect=SECONDS,
    keepalive=SECONDS,
    responseHeader=SECONDS,
    tlsHandshake=SECONDS,
    expectContinue=SECONDS,
    idleConn=SECONDS,
)
PEER_FILTERS = some(
    stripParams=STRIP,
    setParams=OBJECTS,
    setParamsByID=st.dictionaries(NAMES.map(escaped), OBJECTS, max_size=2),
)
URLS = st.sampled_from(
    [
        "http://h",
        "https://h:1/",
        "http://127.0.0.1:9000/v1",
        "http://[::1]:1",
        "http://u:p@h/%20a//",
    ]
)
PATTERNS = st.sampled_from([r"\.js$", "a${PORT}", "[$]{2}"])
KINDS = st.lists(st.sampled_from(["text", "audio", "image"]), max_size=3)
MODES = st.sampled_from(["off", "comment", "heartbeat", "reasoning", False])
STRICT = st.sampled_from([True, False, "force"])
USD = st.integers(0, 10**6) | st.decimals(0, 10**6, places=9).map(float).filter(lambda x: x > 1e-9)
PRICES = some(
    input=USD, output=USD, cacheRead=USD, cacheWrite=USD, cacheWrite1h=USD, reasoning=USD
)  # fmt: skip
BY_GLOB = st.dictionaries(NAMES, PRICES, max_size=3)
UPSTREAMS = st.sampled_from(["llama-server", "VLLM", "openai", "bedrock"])
USAGES = st.sampled_from(["auto", "inject", "observe"])
FIELD_NAMES = st.sampled_from(["X-A", "x-b", "Authorization", "!#$%&'*+.^_`|~9"])
FIELDS = some(
    set=st.dictionaries(FIELD_NAMES, PRINTABLE.map(escaped), max_size=3),
    remove=st.lists(FIELD_NAMES, max_size=3),
)
LISTED = {"name": TEXTS, "description": TEXTS, "unlisted": BOOLEANS, "metadata": OBJECTS}


@st.composite
def models(draw: st.DrawFn, model: str, aliases: list[str]) -> dict[str, Any]:
    """A model `model` that is known by `aliases`, too."""
    uses_port = draw(BOOLEANS)
    words = draw(st.lists(TEXTS, min_size=1, max_size=4))
    command = escaped(join_command(words)) + " --port ${PORT}" * uses_port
    stop = escaped(join_command(draw(st.lists(TEXTS, min_size=1, max_size=2))))
    proxy = draw(URLS)
    own = draw(st.sampled_from([[], [model]]))
    by_id = st.fixed_dictionaries({escaped(name): OBJECTS for name in (*own, *aliases[:1])})
    found = draw(
        some(
            cmdStop=st.just(f"{stop} ${{PID}}"),
            aliases=st.just([escaped(alias) for alias in aliases]),
            apiKey=PRINTABLE.map(escaped) | st.just("k-${API_KEY}"),
            env=st.lists(
                st.tuples(TEXTS, TEXTS).map(lambda pair: escaped("E" + "=".join(pair))), max_size=3
            ),
            checkEndpoint=st.sampled_from(["none", "/", "health?x=1", "http://h:1/%20", "//a"]),
            ttl=st.integers(-1, 10**6),
            unloadTimeout=SECONDS,
            hungAfter=st.sampled_from([0, "1s", "90500ms"]),
            scrapeMetrics=BOOLEANS,
            drainLimit=st.sampled_from([0, "1s", "24h"]),
            onFailure=st.sampled_from(["restore", "none"]),
            healthCheckTimeout=st.integers(1, 10**6),
            useModelName=TEXTS,
            progress=MODES,
            sendLoadingState=BOOLEANS,
            strict=STRICT,
            concurrencyLimit=st.integers(-3, 10**6),
            kind=UPSTREAMS,
            usage=USAGES,
            prices=PRICES,
            filters=some(stripParams=STRIP, setParams=OBJECTS, setParamsByID=by_id),
            timeouts=TIMEOUTS,
            compat=some(ignoreWebsockets=BOOLEANS),
            capabilities=some(**{
                "in": KINDS, "out": KINDS, "tools": BOOLEANS, "reranker": BOOLEANS,
                "context": SECONDS,
            }),
            macros=st.just({"own": "${MODEL_ID}"}),
            **LISTED,
        )
    )  # fmt: skip
    for name in ("useModelName", "name", "description", "metadata"):
        if name in found:
            found[name] = escaped(found[name])
    if "filters" in found:
        for name in ("stripParams", "setParams"):
            if name in found["filters"]:
                found["filters"][name] = escaped(found["filters"][name])
        by_names = found["filters"].get("setParamsByID", {})
        found["filters"]["setParamsByID"] = {key: escaped(value) for key, value in by_names.items()}
    found["cmd"] = command
    if uses_port and draw(BOOLEANS):
        found["checkEndpoint"] = "/${PORT}"
        found["metadata"] = (
            {"port": "${PORT}", "text": "at ${PORT} ${own}"} if "macros" in found else {}
        )
    if not uses_port or draw(BOOLEANS):
        found["proxy"] = proxy
    if draw(BOOLEANS):
        found["launcher"] = draw(st.sampled_from(["local", "elsewhere"]))
    return found


@st.composite
def groups(draw: st.DrawFn, ids: list[str]) -> dict[str, Any]:
    """Groups with some of the models in them."""
    left = draw(st.permutations(ids))
    found = {}
    for name in draw(st.lists(TEXTS, max_size=3, unique=True)):
        count = draw(st.integers(0, len(left)))
        members, left = left[:count], left[count:]
        flags = some(swap=BOOLEANS, exclusive=BOOLEANS, persistent=BOOLEANS)
        found[name] = {"members": escaped(members), **draw(flags)}
    return found


@st.composite
def matrices(draw: st.DrawFn, ids: list[str]) -> dict[str, Any]:
    """A matrix of the models."""
    variables = {f"v{number}": escaped(model) for number, model in enumerate(ids)}
    names = st.sampled_from(sorted(variables))
    written = st.recursive(
        names,
        lambda inner: st.tuples(inner, st.sampled_from(" &|\n"), inner).map(
            lambda parts: f"({parts[0]} {parts[1].strip() or '&'} {parts[2]})"
        ),
        max_leaves=5,
    )
    sets = draw(st.dictionaries(TEXTS.filter(str.strip), written, min_size=1, max_size=3))
    costs = draw(st.dictionaries(names, st.integers(1, 9), max_size=2))
    return {"vars": variables, "evict_costs": costs, "sets": sets}


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """A configuration with any keys; most of them are valid."""
    names = draw(st.lists(NAMES, max_size=9, unique=True))
    ids, aliases = names[:4], names[4:]
    pieces: dict[str, Any] = draw(
        some(
            listen=st.sampled_from([":1", "127.0.0.1:8080", "[::1]:0", "a.b:65535"]),
            workers=st.integers(1, 64) | st.just("auto"),
            startPort=st.integers(1, 65535),
            healthCheckTimeout=SECONDS,
            unloadTimeout=SECONDS,
            hungAfter=st.sampled_from([0, "1s", "90500ms"]),
            scrapeMetrics=BOOLEANS,
            drainLimit=st.sampled_from([0, "1s", "24h"]),
            onFailure=st.sampled_from(["restore", "none"]),
            launcher=st.sampled_from(["local", "elsewhere"]),
            adopt=BOOLEANS,
            supervisorGrace=st.sampled_from(["1s", "1h", "12345ms"]),
            globalTTL=SECONDS,
            progress=MODES,
            sendLoadingState=BOOLEANS,
            progressDelay=DURATIONS,
            heartbeatInterval=st.sampled_from([0, "1s", "1m", "1.000000001s", "12345ms"]),
            progressMarker=st.sampled_from(["${x} ", "[swap] ", "'\": # "]).map(escaped),
            progressMarkersOld=st.lists(st.just("$${x} "), max_size=2),
            progressDetails=BOOLEANS,
            nonstreamHold=st.sampled_from(["1s", "1h", "12345ms"]),
            nonstreamKeepalive=st.sampled_from(["off", "whitespace", False]),
            upstreamIdle=st.sampled_from(["1s", "24h"]),
            upstreamStall=st.sampled_from(["1s", "1.000000001s"]),
            maxRetryWait=DURATIONS,
            maxBody=st.sampled_from(["64KiB", "3MiB", "1GiB"]),
            bodyMemory=st.sampled_from(["1MiB", "1025KiB", "64GiB"]),
            trailers=BOOLEANS,
            cors=BOOLEANS
            | st.lists(
                st.sampled_from(
                    ["https://a.example/", "http://[::1]:*", "https://*.a.example:443", "null",
                     "chrome-extension://*", "*"]
                ),
                max_size=2,
            ),
            allowedHosts=st.lists(
                st.sampled_from(
                    ["A.example.", ".b.example", "192.168.1.5", "[fd00::1]", "fd00::2", "*"]
                ),
                max_size=2,
            ),
            publicWithoutKeys=BOOLEANS,
            headers=some(request=FIELDS, response=FIELDS),
            prices=BY_GLOB,
            priceList=st.fixed_dictionaries(
                {"url": st.just("http://h/$${x}?a=$${b}")},
                optional={"provider": TEXTS.map(escaped), "markup": st.sampled_from([0, 1.25]),
                          "refresh": st.just("61001ms")},
            ),
            strict=STRICT,
            logLevel=st.sampled_from(["debug", "INFO", "warn", "warning", "error"]),
            logTimeFormat=st.sampled_from(["", "rfc3339", "Kitchen"]),
            logToStdout=st.sampled_from(["proxy", "upstream", "both", "none"]),
            logRequests=BOOLEANS,
            metricsMaxInMemory=st.integers(-1, 10**6),
            captureBuffer=st.integers(-1, 10**5),
            store=some(
                path=TEXTS.filter(str.strip).map(escaped), rows=st.integers(1, 10**6),
                age=st.sampled_from(["60s", "24h1ms"]), size=st.sampled_from(["1MiB", "2GiB"]),
                captureBody=st.sampled_from(["1KiB", "2MiB"]),
            ),
            ui=some(activity=some(session_id=st.lists(TEXTS.map(escaped), max_size=4))),
            performance=some(disabled=BOOLEANS, every=st.sampled_from(["5s", "1h1ms"])),
            includeAliasesInList=BOOLEANS,
            apiKeys=st.lists(PRINTABLE.filter(lambda key: " " not in key).map(escaped), max_size=3),
            clientKeys=st.dictionaries(
                st.sampled_from(["laptop", "a@b/c.d-1"]),
                st.integers(0, 16**64 - 1).map(lambda digits: f"sha256:{digits:064x}").flatmap(
                    lambda hashed: st.fixed_dictionaries(
                        {"hash": st.just(hashed)},
                        optional={
                            "scopes": st.lists(st.sampled_from(["infer", "read", "admin"])),
                            "models": st.lists(NAMES.map(escaped), max_size=2),
                            "concurrency": st.integers(0, 10**6),
                            "dailyTokens": st.integers(0, 2**53),
                            "dailyCost": USD,
                        },
                    )
                ),
                max_size=2,
            ),
            macros=st.just({"x": 1, "y": "${x}"}),
            hooks=some(
                on_startup=some(preload=st.lists(st.sampled_from([*names, ""]).map(escaped)))
            ),
            upstream=some(ignorePaths=st.lists(PATTERNS.map(escaped))),
        )
    )  # fmt: skip
    pieces["models"] = {
        model: draw(models(model, aliases if model == ids[0] else [])) for model in ids
    }
    pieces["launchers"] = {
        "elsewhere": {
            "start": escaped(join_command(draw(st.lists(TEXTS, min_size=1, max_size=2))))
            + draw(st.sampled_from([" ${COMMAND}", " at=${COMMAND_LINE} ${START_ID}"])),
            **draw(
                some(
                    stop=st.just("end ${PID} ${HOST} $${HOST}"),
                    endpoint=st.sampled_from(["unix:/${START_ID}", "http://${HOST}:1/$${x}"]),
                )
            ),
        }
    }
    pieces["peers"] = draw(
        st.dictionaries(
            NAMES,
            st.fixed_dictionaries(
                {"proxy": URLS, "models": st.lists(NAMES.map(escaped), min_size=1, max_size=3)},
                optional={
                    "apiKey": PRINTABLE.map(escaped),
                    "kind": UPSTREAMS,
                    "usage": USAGES,
                    "prices": BY_GLOB,
                    "forwardAuth": BOOLEANS,
                    "region": st.sampled_from(["", "eu-central-1"]),
                    "filters": PEER_FILTERS.map(_escaped_filters),
                    "timeouts": TIMEOUTS,
                },
            ),
            max_size=2,
        )
    )
    known = [*map(escaped, ids)]
    known += [
        f"{escaped(peer)}/{model}"
        for peer, keys in pieces["peers"].items()
        for model in keys["models"]
    ]
    settings: dict[str, Any] = {"groups": draw(groups(ids))}
    use = ["group", None]
    if draw(BOOLEANS) and ids:
        settings["matrix"] = draw(matrices(ids))
        use = ["matrix"]
    if draw(BOOLEANS) and ids:  # the older places
        name = "matrix" if "matrix" in settings else "groups"
        pieces[name] = settings[name]
        pieces["routing"] = {}
    else:
        pieces["routing"] = {"router": {"use": draw(st.sampled_from(use)), "settings": settings}}
    if ids:
        priority = draw(st.dictionaries(st.sampled_from(ids), st.integers(-9, 9)))
        pieces["routing"]["scheduler"] = {"settings": {"fifo": {"priority": priority}}}
    if known:
        targets = st.sampled_from(known)
        pieces["selectors"] = draw(
            st.dictionaries(
                TEXTS.filter(str.strip).map(lambda name: f"s{name}"),
                st.fixed_dictionaries(
                    {"strategy": st.just("pin"), "targets": st.lists(targets, min_size=1)},
                    optional={"settings": some(spillover=st.integers(1, 9)), **_escaped_listing()},
                )
                | st.fixed_dictionaries(
                    {"strategy": st.just("spillover"), "targets": st.tuples(targets).map(list)}
                ),
                max_size=2,
            )
        )
        pins = st.dictionaries(
            TEXTS.filter(str.strip).map(lambda name: f"p{name}"),
            targets | st.none() | st.just(""),
            min_size=1,
            max_size=3,
        )
        pieces["profiles"] = draw(
            st.dictionaries(
                TEXTS.filter(str.strip),
                st.fixed_dictionaries({"pins": pins}, optional={"description": TEXTS.map(escaped)}),
                max_size=2,
            )
        )
    return pieces


def _escaped_listing() -> dict[str, st.SearchStrategy[Any]]:
    return {name: strategy.map(escaped) for name, strategy in LISTED.items()}


def _escaped_filters(filters: dict[str, Any]) -> dict[str, Any]:
    return {name: escaped(value) for name, value in filters.items()}
