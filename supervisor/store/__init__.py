"""Records of requests on disk: SQLite, in a process of its own.

Lowest first:

    limits       What may be kept, and where.
    columns      Records <-> rows. Pure.
    conditions   Filters -> SQL. Pure.
    open_file    A file -> a database; what cannot be one is put aside.
    captures     Captures <-> what is kept of them. Pure.
    database     What is done with it, one after the other: write, forget, answer.
    answers      Questions about records, and their answers.
    frames       What the supervisor and the process say to each other. Pure.
    keeper       What waits for the database: batches, failures, questions.
    store_child  The process.
    archive      The supervisor's side of it.
"""
