"""How keys are declared and read, and what they take.

Lowest first:

    immutable     `immutable`: makes the classes of sections.
    json_schema   JSON-schema fragments.
    llama_swap    Names of the keys that llama-swap has as well.
    macros        `${name}` expansion.
    reader        `ValueType`, `Key`, `Place`, `Reading`: collects problems.
    sections      `key`, `section`: the fields of a dataclass are keys.
    types         Text, integer, duration, choice, list, mapping.
    access_types  Addresses, keys of clients, hosts, origins.
    header_types  Changes of header fields; markers.
    price_types   Prices and price lists.
    key_types     Keys of clients with rights and limits.
    launcher_types  Commands that start models elsewhere.
    memory_types  Devices, sizes on them, blocked models.
    model_types   Names, commands, URLs, filters, macros.
    rule_types    Rules for bodies.
"""
