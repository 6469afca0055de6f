"""Models that may be loaded side by side. Pure.

Lowest first:

    matrix_parser  `a & b | +c` -> tree.
    matrix_solver  Cheapest set to keep.
    policy         `PlacementPolicy`: one at a time, groups.
    matrix         `matrix:` compiled to a policy.
"""
