"""YAML text <-> tree of nodes with line and column.

Lowest first:

    braces  Protects `${name}` from the YAML parser.
    tree    YAML events -> `Node` tree with positions.
    write   Values -> YAML.
"""
