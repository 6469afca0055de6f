"""YAML files -> immutable `Config`. `load` is the only entry point.

Lowest first:

    merge          Merge several files.
    named_files    Checks files that keys name (store, price list).
    sources        Find and read the files.
    values         `Config`, `ModelConfig`, `Peer`, ...
    diff           What changed between two configurations.
    dump           `Config` -> YAML.
    read_models    Tree -> models (macros, inheritance, ports).
    read_names     Tree -> peers, selectors, profiles; name checks.
    read_routing   Tree -> groups, matrix, priorities.
    load           `load_config`, `parse_config`: files -> `Config`, all problems at once.
    worker_config  `Config` -> `WorkerConfig` for the workers.

Packages within it:

    lint/    `arriero check`: valid configuration that is almost certainly a mistake.
    schema/  One declaration per key: type, default, documentation, JSON schema.
    yaml/    YAML text <-> tree of nodes with line and column.
"""
