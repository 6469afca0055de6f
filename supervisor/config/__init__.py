"""YAML files -> immutable `Config`. `load` is the only entry point.

Lowest first:

    merge          Merge several files.
    named_files    Checks what keys name or need: files (store, price list), packages.
    sources        Find and read the files.
    model_config   The keys of a model; how it is started.
    names          The keys of peers, selectors and profiles.
    routing        The keys of groups, matrix and priorities.
    values         All other keys: `Config` is the whole.
    diff           What changed between two configurations.
    document       The JSON schema document; list of all keys.
    dump           `Config` -> YAML.
    read_models    Tree -> models (macros, inheritance, ports).
    read_names     Checks names: peers, selectors, profiles.
    read_routing   Old and new place of groups and matrix -> `Routing`.
    load           `load_config`, `parse_config`: files -> `Config`, all problems at once.
    worker_config  `Config` -> `WorkerConfig` for the workers.

A key is one field of `Config`, `ModelConfig`, ...: reading, defaults, inheritance, the JSON schema,
the page on all keys, `dump` and `diff` go by the fields. See `schema.sections`.

Packages within it:

    lint/    `arriero check`: valid configuration that is almost certainly a mistake.
    shown/   Files as they may be shown, without secrets.
    schema/  How keys are declared and read, and what they take.
    yaml/    YAML text <-> tree of nodes with line and column.
"""
