"""Records of requests on disk: SQLite, written in a thread of its own.

Lowest first:

    limits       What may be kept, and where.
    columns      Records <-> rows. Pure.
    conditions   Filters -> SQL. Pure.
    open_file    A file -> a database; what cannot be one is put aside.
    database     What is done with it, one after the other: write, forget, answer.
    captures     Captures <-> what is kept of them. Pure.
    answers      Questions about records, and their answers.
    archive      The thread: batches, failures, questions.
"""
