"""One declaration per key: type, default, documentation, JSON schema.

Lowest first:

    json_schema   JSON-schema fragments.
    macros        `${name}` expansion.
    reader        `Key`, `Place`, `Reading`: reads keys, collects problems.
    types         Text, integer, duration, choice, list, mapping.
    access_keys   Keys of hosts, pages and public access.
    fault_keys    Keys for models that hang or fail.
    price_keys    Keys of prices.
    model_keys    Keys of a model.
    routing_keys  Keys of groups, matrix, peers, profiles, selectors.
    stream_keys   Keys of streaming and headers.
    top_keys      Top-level keys.
    document      The JSON schema document; list of all keys.
"""
